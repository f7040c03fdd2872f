// Memory of idle shims. Used by main.ts.
import type { Daemon } from "../test/harness/daemon.ts";
import { keeperOf } from "../test/harness/keeper.ts";
import { type Memory, memoryOf } from "../test/harness/processes.ts";

/** Ours, and the Go shim's. */
export type Sides = readonly [Daemon, Daemon];

const IDLE = 5000;

/** Averages over `count` shims and their keepers, each with one idle container, 5 s after the last was started; in KiB. */
export async function shimMemory(sides: Sides, count: number): Promise<[ours: Memory, go: Memory]> {
  const [ours, go] = sides;
  return [await oneSide(ours, count), await oneSide(go, count)];
}

/** A shim's memory and its keeper's, where it has one. */
function withKeeper(pid: number): Memory {
  const shim = memoryOf(pid);
  const keeper = keeperOf(pid);
  if (keeper === undefined) return shim;
  const { rss, pss, private: own } = memoryOf(keeper);
  return { ...shim, rss: shim.rss + rss, pss: shim.pss + pss, private: shim.private + own };
}

async function oneSide(daemon: Daemon, count: number): Promise<Memory> {
  const ids = Array.from({ length: count }, (_, index) => `memory-${count}-${index}`);
  for (const id of ids) await daemon.ctr.start(id, ["sleep", "100000"]);
  await new Promise((resolve) => setTimeout(resolve, IDLE));
  const pids = await Promise.all(ids.map((id) => daemon.shimPid(id)));
  const measured = pids.map(withKeeper);
  for (const id of ids) await daemon.ctr.remove(id);
  const mean = (figure: keyof Memory): number =>
    measured.reduce((sum, memory) => sum + memory[figure], 0) / measured.length;
  return { rss: mean("rss"), pss: mean("pss"), private: mean("private"), threads: mean("threads") };
}
