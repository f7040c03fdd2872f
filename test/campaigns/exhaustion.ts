// Descriptors, processes and memory run out: what is asked is refused and says why, what runs goes on, and all works again when there is room.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { ShimClient } from "../harness/shim-client.ts";
import type { Campaign, CampaignRun } from "./campaign.ts";
import { outOfMemory, tryRemove } from "./out-of-memory.ts";
import type { Random } from "./random.ts";

const PIDS = "/sys/fs/cgroup/pids";
/** Processor time that a shim may use while it waits for room, in hundredths of a second in each 300 ms. */
const IDLE_TICKS = 3;

export const exhaustion: Campaign = {
  name: "exhaustion",
  what: "descriptors, processes or memory of a shim run out at any step: it says so, lives or comes back, does not spin, and goes on when there is room",
  lives: { short: 6, full: 500 },
  async run(run) {
    const place = await Playground.create();
    try {
      for (let n = 0; n < run.lives; n++) {
        const random = run.random.branch();
        const fault = FAULTS[n % FAULTS.length] ?? outOfDescriptors;
        await fault(run, place, `few-${n}`, random);
        run.did(fault.name);
      }
      const left = await place.leftovers();
      run.check("what is left of all", left === "", left);
    } finally {
      await place.close();
    }
  },
};

const FAULTS = [outOfDescriptors, outOfProcesses, outOfMemory];

async function outOfDescriptors(
  run: CampaignRun,
  place: Playground,
  id: string,
  random: Random,
): Promise<void> {
  const limit = random.between(28, 70);
  place.makeBundle(id, { args: ["sleep", "100000"] });
  const address = await place.start(id, { wrapper: ["prlimit", `--nofile=${limit}:${limit}`] });
  const shim = await ShimClient.connect(address);
  const notMade = await attempt(() => shim.create(id, place.bundle(id)));
  const notStarted = notMade ?? (await attempt(() => shim.start(id)));
  if (notStarted === undefined) await fill(run, shim, id);
  else run.check("reasons", /too many open files/i.test(notStarted), `${id}: limit ${limit}: ${notStarted}`);
  await finish(run, place, shim, id, notMade === undefined);
}

async function outOfProcesses(
  run: CampaignRun,
  place: Playground,
  id: string,
  random: Random,
): Promise<void> {
  const shim = await place.shim(id, { args: ["sleep", "100000"] });
  await shim.create(id, place.bundle(id));
  await shim.start(id);
  const { shimPid } = await shim.connect(id);
  const group = join(PIDS, `${place.namespace}-${id}`);
  try {
    mkdirSync(group);
    writeFileSync(join(group, "cgroup.procs"), String(shimPid));
  } catch {
    run.did("groups that this machine has not");
    await finish(run, place, shim, id, true);
    return;
  }
  writeFileSync(join(group, "pids.max"), String(random.between(1, 8)));
  await fill(run, shim, id);
  writeFileSync(join(group, "pids.max"), "max");
  const works = await attempt(() => shim.exec(id, "after", ["true"]).then(() => shim.start(id, "after")));
  run.check("execs with room again", works === undefined, `${id}: ${works}`);
  if (works === undefined) await shim.wait(id, "after");
  await finish(run, place, shim, id, true);
  await eventually("the group to be free", () => tryRemove(group));
}

/** Execs until one is refused, or a good many run. */
async function fill(run: CampaignRun, shim: ShimClient, id: string): Promise<void> {
  for (let n = 0; n < 30; n++) {
    const wrong = await attempt(async () => {
      await shim.exec(id, `e${n}`, ["sleep", "100000"]);
      await shim.start(id, `e${n}`);
    });
    if (wrong === undefined) continue;
    run.did("refusals");
    run.check("reasons", wrong.length > 20 && !wrong.includes("internal error"), `${id}: ${wrong}`);
    break;
  }
  const { shimPid } = await shim.connect(id);
  const before = ticks(shimPid);
  await sleep(300);
  const used = ticks(shimPid) - before;
  run.check("rest", used <= IDLE_TICKS, `${id}: ${used} ticks in 300 ms`);
  const { status } = await shim.state(id);
  run.check("containers that live on", status === 2, `${id}: status ${status}`);
}

async function finish(
  run: CampaignRun,
  place: Playground,
  shim: ShimClient,
  id: string,
  exists: boolean,
): Promise<void> {
  if (exists) {
    await shim.kill(id, 9);
    const { exitStatus } = await shim.wait(id);
    run.check("ends", exitStatus === 137, `${id}: ${exitStatus}`);
    const wrong = await attempt(() => shim.delete(id));
    run.check("deletes", wrong === undefined, `${id}: ${wrong}`);
  }
  await place.forget(shim, id);
}

/** What a call is refused with; undefined if it is not. */
async function attempt(call: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await call();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function ticks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}
