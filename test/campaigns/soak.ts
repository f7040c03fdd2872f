// The soak: one shim lives through thousands of containers and execs, and is no larger after them.
import { readdirSync } from "node:fs";
import { Playground } from "../harness/direct-shim.ts";
import { memoryOf } from "../harness/processes.ts";
import { ShimClient } from "../harness/shim-client.ts";
import type { Campaign } from "./campaign.ts";

/** By how much private memory may differ, in KiB: the allocator's pages come and go. */
const MEMORY_SLACK = 300;
/** After so many lives at the latest everything has been needed once, and nothing may grow any more. */
const WARM = 500;
const GROUP = "io.containerd.runc.v2.group";

export const soak: Campaign = {
  name: "soak",
  what: "one shim lives through all of these containers, with execs and terminals: its memory, descriptors and files are as before",
  lives: { short: 40, full: 20_000 },
  piece: 5000,
  async run(run) {
    const place = await Playground.create();
    try {
      const annotations = { [GROUP]: "soak" };
      place.noteGroup("soak");
      place.makeBundle("pod", { args: ["sleep", "100000"], annotations });
      const shim = await ShimClient.connect(await place.start("pod"));
      await shim.create("pod", place.bundle("pod"));
      await shim.start("pod");
      const { shimPid } = await shim.connect("pod");
      const life = async (n: number): Promise<void> => {
        const id = `soak-${n}`;
        const terminal = run.random.chance(0.3);
        const status = run.random.between(0, 120);
        place.makeBundle(id, { args: ["sh", "-c", `exit ${status}`], terminal, annotations });
        await shim.create(id, place.bundle(id), { terminal });
        await shim.start(id);
        const { exitStatus } = await shim.wait(id);
        run.check("statuses", exitStatus === status, `${id}: ${exitStatus} for ${status}`);
        await shim.delete(id);
        await place.removeBundle(id);
        await shim.exec("pod", id, ["true"], { terminal });
        await shim.start("pod", id);
        await shim.wait("pod", id);
        await shim.delete("pod", id);
        run.did("lives");
      };
      const look = (): { memory: number; descriptors: number; files: number } => ({
        memory: memoryOf(shimPid).private,
        descriptors: readdirSync(`/proc/${shimPid}/fd`).length,
        files: readdirSync(place.bundle("pod")).length,
      });
      const warm = Math.min(Math.ceil(run.lives / 4), WARM);
      for (let n = 0; n < warm && !run.isCutShort; n++) await life(n);
      const before = look();
      for (let n = warm; n < run.lives && !run.isCutShort; n++) await life(n);
      const after = look();
      run.check(
        "memory",
        after.memory <= before.memory + MEMORY_SLACK,
        `${before.memory} KiB, then ${after.memory}`,
      );
      run.check(
        "descriptors",
        after.descriptors <= before.descriptors,
        `${before.descriptors}, then ${after.descriptors}`,
      );
      run.check("files", after.files <= before.files, `${before.files}, then ${after.files}`);
      await place.endContainer(shim, "pod");
      await place.forget(shim, "pod");
      const left = await place.leftovers();
      run.check("what is left of all", left === "", left);
    } finally {
      await place.close();
    }
  },
};
