// Wall times through ctr, ours and the Go shim's in turns, so that whatever else the machine does meets both. Used by main.ts.
import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Daemon } from "../test/harness/daemon.ts";
import { memoryOf } from "../test/harness/processes.ts";
import type { Sides } from "./memory.ts";

let runs = 0;

/** The median time of `ctr run --rm … true`, ours ÷ Go's. */
export async function runTime(sides: Sides, count: number): Promise<number> {
  return inTurns(sides, count, (daemon) => timed(daemon, ["true"]));
}

/** The median time to move `mib` MiB to ctr's stdout, ours ÷ Go's; and by how much our shim's RSS grew meanwhile, in KiB. */
export async function outputTime(
  sides: Sides,
  count: number,
  mib: number,
): Promise<{ ratio: number; grownKiB: number }> {
  const growth: number[] = [];
  const ratio = await inTurns(sides, count, async (daemon) => {
    const watch = daemon === sides[0] ? growth : [];
    return timed(daemon, ["dd", "if=/dev/zero", "bs=1M", `count=${mib}`], watch);
  });
  return { ratio, grownKiB: Math.max(...growth) };
}

async function inTurns(
  sides: Sides,
  count: number,
  measure: (daemon: Daemon) => Promise<number>,
): Promise<number> {
  const [ours, go]: [number[], number[]] = [[], []];
  for (let turn = 0; turn < count; turn++) {
    ours.push(await measure(sides[0]));
    go.push(await measure(sides[1]));
  }
  return median(ours) / median(go);
}

/** Runs a container to its end, its output thrown away; in ms. Into `growth` goes the last RSS seen minus the first, in KiB. */
async function timed(daemon: Daemon, command: readonly string[], growth?: number[]): Promise<number> {
  const id = `run-${runs++}`;
  const args = [...daemon.ctr.base, ...daemon.ctr.runArgs(id, command, ["--rm"])];
  const began = process.hrtime.bigint();
  const ctr = spawn("ctr", args, { stdio: ["ignore", "ignore", "ignore"] });
  const ended = once(ctr, "exit");
  const watching = growth && watchGrowth(daemon, id, ended, growth);
  const [status] = await ended;
  const ms = Number(process.hrtime.bigint() - began) / 1e6;
  await watching;
  if (status !== 0) throw new Error(`ctr ${args.join(" ")}: exit status ${status}`);
  return ms;
}

async function watchGrowth(
  daemon: Daemon,
  id: string,
  ended: Promise<unknown>,
  growth: number[],
): Promise<void> {
  const seen: number[] = [];
  let over = false;
  ended.then(() => {
    over = true;
  });
  while (!over) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    try {
      seen.push(memoryOf(await daemon.shimPid(id)).rss);
    } catch {
      // Not there yet, or gone by now.
    }
  }
  const [first = 0] = seen;
  growth.push((seen.at(-1) ?? 0) - first);
}

/** The median time of `act`, in ms; `before` is done before each, and does not count. */
export async function medianTime(
  count: number,
  act: () => Promise<unknown>,
  before: () => Promise<unknown> = async () => {},
): Promise<number> {
  const times: number[] = [];
  for (let turn = 0; turn < count; turn++) {
    await before();
    const began = performance.now();
    await act();
    times.push(performance.now() - began);
  }
  return median(times);
}

export function median(values: readonly number[]): number {
  return ranked(values, 0.5);
}

/** A quarter of the values is less. */
export function quartile(values: readonly number[]): number {
  return ranked(values, 0.25);
}

function ranked(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length * part)] ?? Number.NaN;
}
