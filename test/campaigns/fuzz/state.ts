// Broken files in a bundle whose shim is dead: `delete` cleans up and answers, whatever they say.
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DeleteResponse } from "../../../src/api/generated/task.ts";
import { Playground } from "../../harness/direct-shim.ts";
import type { Campaign } from "../campaign.ts";
import type { Random } from "../random.ts";
import { INTERNAL, mutateBytes, mutateJson } from "./mutate.ts";

export const fuzzState: Campaign = {
  name: "fuzz-state",
  what: "changed state files in the bundle of a dead shim: delete cleans up, and says how it ended if that can be known",
  lives: { short: 60, full: 100_000 },
  async run(run) {
    const place = await Playground.create();
    try {
      for (let n = 0; n < run.lives; n++) {
        const id = `state-${n}`;
        const bundle = place.bundle(id);
        mkdirSync(join(bundle, "rootfs"), { recursive: true });
        for (const [name, content] of Object.entries(files(place, id)))
          damage(join(bundle, name), content, run.random);
        const words = [...place.flags(id), "-bundle", bundle, "delete"];
        const { status, stdout, stderr } = spawnSync(place.binary, words, { cwd: bundle });
        // What it says beside the text of the crash, which is whatever it is.
        const said = stderr
          .toString()
          .split("\n")
          .filter((line) => line.startsWith("failed"))
          .join("\n");
        run.did("deletes");
        run.check("exits of delete", status === 0, `${id}: ${status} ${stderr}`);
        run.check("words", !INTERNAL.test(said), `${id}: ${said}`);
        const names = said
          .split("\n")
          .filter((line) => line !== "")
          .every((line) => line.includes("/") || line.includes("NUL"));
        run.check("files that are named", names, `${id}: ${said}`);
        run.check("answers", isAnswer(stdout), `${id}: ${stdout.toString("hex")}`);
        rmSync(bundle, { recursive: true, force: true });
      }
      const left = await place.leftovers();
      run.check("what is left of all", left === "", left);
    } finally {
      await place.close();
    }
  },
};

/** As a shim leaves them. Its runtime's root is the test's own, so that no change of it finds a container. */
function files(place: Playground, id: string): Record<string, string> {
  const root = join(place.directory, "runc");
  const exit = { status: 42, at: "1700000000000000000" };
  return {
    "holdfast.state": JSON.stringify({
      version: 1,
      runtime: { binary: "runc", root, systemdCgroup: false },
      pid: 4242,
      exit,
    }),
    "holdfast.crash": `2023-11-14T22:13:20Z it broke in ${id}\n`,
    address: `unix://${place.directory}/gone.sock`,
    "init.pid": "4242",
    runtime: "runc",
    "options.json": JSON.stringify({ binary_name: "runc", root, systemd_cgroup: false }),
  };
}

/** As it is, changed, of another kind, or away. */
function damage(path: string, content: string, random: Random): void {
  const kind = random.next();
  if (kind < 0.15) return;
  if (kind < 0.2) mkdirSync(path);
  else if (kind < 0.25) symlinkSync(random.pick(["/dev/zero", "/dev/null", "nowhere", path]), path);
  else if (kind < 0.3)
    writeFileSync(path, Buffer.alloc(random.pick([0, 1, 70_000, 3_000_000]), random.between(0, 255)));
  else if (kind < 0.5) writeFileSync(path, content);
  else if (kind < 0.75 && content.startsWith("{"))
    writeFileSync(path, JSON.stringify(mutateJson(JSON.parse(content), random)) ?? "");
  else writeFileSync(path, mutateBytes(Buffer.from(content), random));
}

function isAnswer(stdout: Uint8Array): boolean {
  try {
    const { exitStatus, exitedAt } = DeleteResponse.decode(stdout);
    return exitStatus <= 255 && exitedAt !== undefined;
  } catch {
    return false;
  }
}
