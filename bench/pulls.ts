// A pull from a registry on loopback, unpacked: its time beside containerd's, and the memory that it takes. Used by main.ts.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Cli } from "../test/cli/cli.ts";
import { processInfo } from "../test/harness/processes.ts";
import { DockerRegistry } from "../test/registry/docker-registry.ts";
import { makeImage, putImage } from "../test/registry/image.ts";
import type { Sides } from "./memory.ts";
import { median } from "./time.ts";

export interface PullFigures {
  /** `holdfast pull` on holdfastd ÷ `ctr images pull` on containerd, of the image of many layers. */
  readonly ours: number;
  /** `ctr images pull` on both. */
  readonly same: number;
  /** The most that daemon and unpackers took together, in KiB: of many layers, and of one layer of all their bytes. */
  readonly peaks: readonly [many: number, one: number];
}

/** Of an image of `layers` layers with `bytes` bytes in all, which cannot be packed. */
export async function pullFigures(
  sides: Sides,
  { layers, bytes, count }: { layers: number; bytes: number; count: number },
): Promise<PullFigures> {
  const [ours, theirs] = sides;
  const cli = new Cli(ours);
  const registry = await DockerRegistry.start({ directory: join(ours.directory, "registry") });
  try {
    const each = Math.round(bytes / layers);
    // The shell is a layer too.
    await putImage(registry, "many", "1", makeImage({ layers: Array(layers - 1).fill(each) }));
    await putImage(registry, "one", "1", makeImage({ layers: [bytes] }));
    const name = `${registry.host}/many:1`;
    const times: [number[], number[], number[]] = [[], [], []];
    const peaks: number[] = [];
    for (let turn = 0; turn < count; turn++) {
      peaks.push(
        await peakOf(ours.pid, async () =>
          times[0].push(await timed(() => cli.do(["pull", "-q", "--plain-http", name]))),
        ),
      );
      await cli.do(["rmi", name]);
      for (const [index, { ctr }] of [theirs, ours].entries()) {
        times[index === 0 ? 1 : 2].push(await timed(() => ctr.do(["images", "pull", "--plain-http", name])));
        await ctr.do(["images", "rm", "--sync", name]);
      }
    }
    const single = `${registry.host}/one:1`;
    const one = await peakOf(ours.pid, () => cli.do(["pull", "-q", "--plain-http", single]));
    await cli.do(["rmi", single]);
    const [holdfast, containerd, unmodified] = times.map(median) as [number, number, number];
    return { ours: holdfast / containerd, same: unmodified / containerd, peaks: [Math.max(...peaks), one] };
  } finally {
    cli.close();
    await registry.close();
  }
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await act();
  return performance.now() - began;
}

const LOOK_MS = 10;

/** The most that a process and those that it has started take together while `act` goes on, in KiB. */
async function peakOf(pid: number, act: () => Promise<unknown>): Promise<number> {
  let peak = 0;
  const timer = setInterval(() => {
    peak = Math.max(peak, familyRss(pid));
  }, LOOK_MS);
  try {
    await act();
  } finally {
    clearInterval(timer);
  }
  return peak;
}

/** Of the daemon and its unpackers. What has been forked and is still the daemon's image is not counted twice. */
function familyRss(pid: number): number {
  const unpackers = childrenOf(pid).filter((each) => processInfo(each)?.executable === "holdfast-layer");
  return [pid, ...unpackers].reduce((sum, each) => sum + rssOf(each), 0);
}

function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}

const PAGE_KIB = 4;

/** 0 for what has ended. */
function rssOf(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * PAGE_KIB;
  } catch {
    return 0;
  }
}
