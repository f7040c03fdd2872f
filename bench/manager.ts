// What holdfastd costs, and how fast it is back. Used by main.ts.
import { DaemonClient } from "../src/cli/containers/daemon-client.ts";
import { createTask, putOnRecord, remove, start, statuses } from "../test/harness/containers.ts";
import type { Daemon } from "../test/harness/daemon.ts";
import { inParallel } from "../test/harness/parallel.ts";
import { memoryOf } from "../test/harness/processes.ts";
import type { Sides } from "./memory.ts";
import { median } from "./time.ts";

const CALL_TIMEOUT = 60_000;
const POLL = 5;
const WIDTH = 8;

export interface Comeback {
  /** From the start of the process until all tasks were listed, in ms. */
  readonly ms: number;
  /** How many of them were told as running. */
  readonly running: number;
}

/** Runs `count` idle containers; `measure` is called while they run. */
export async function amongContainers<T>(
  daemon: Daemon,
  count: number,
  measure: (ids: readonly string[]) => Promise<T>,
): Promise<T> {
  const ids = Array.from({ length: count }, (_, index) => `idle-${index}`);
  const client = await daemon.client();
  await inParallel(WIDTH, ids, async (id) => void (await start(daemon, client, id, ["sleep", "100000"])));
  client.close();
  try {
    return await measure(ids);
  } finally {
    const last = await daemon.client();
    await inParallel(WIDTH, ids, (id) => remove(last, id));
    last.close();
  }
}

/** Kills the daemon and starts it again. */
export async function comeback(daemon: Daemon, count: number): Promise<Comeback> {
  await daemon.kill();
  const began = performance.now();
  const launched = daemon.launch();
  for (;;) {
    const listed = await tryList(daemon);
    if (listed !== undefined && listed.length === count) {
      await launched;
      return {
        ms: performance.now() - began,
        running: listed.filter((status) => status === "RUNNING").length,
      };
    }
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
}

async function tryList({ address, namespace }: Daemon): Promise<string[] | undefined> {
  try {
    const client = await DaemonClient.connect(address, namespace, CALL_TIMEOUT);
    try {
      return Object.values(await statuses(client));
    } finally {
      client.close();
    }
  } catch {
    return undefined;
  }
}

/** Median time of `count` lives of `true`, create to delete, ours ÷ theirs, in turns; and the time for as many, several at once. */
export async function lifeTimes(
  [ours, theirs]: Sides,
  count: number,
): Promise<{ one: number; several: number }> {
  const clients = [await ours.client(), await theirs.client()] as const;
  const one: [number[], number[]] = [[], []];
  for (let turn = 0; turn < count; turn++) {
    one[0].push(await timed(() => live(ours, clients[0], `one-${turn}`)));
    one[1].push(await timed(() => live(theirs, clients[1], `one-${turn}`)));
  }
  const several: [number[], number[]] = [[], []];
  for (let turn = 0; turn < 4; turn++) {
    several[0].push(await timed(() => liveMany(ours, clients[0], count, `several-${turn}`)));
    several[1].push(await timed(() => liveMany(theirs, clients[1], count, `several-${turn}`)));
  }
  for (const client of clients) client.close();
  return { one: median(one[0]) / median(one[1]), several: median(several[0]) / median(several[1]) };
}

/** The daemon's RSS, in KiB, after each of these numbers of lives. */
export async function rssOverLives(daemon: Daemon, stops: readonly number[]): Promise<number[]> {
  const client = await daemon.client();
  const seen: number[] = [];
  let lived = 0;
  for (const stop of stops) {
    await liveMany(daemon, client, stop - lived, `rss-${stop}`);
    lived = stop;
    seen.push(memoryOf(daemon.pid).rss);
  }
  client.close();
  return seen;
}

function liveMany(daemon: Daemon, client: DaemonClient, count: number, prefix: string): Promise<void> {
  return inParallel(WIDTH, Array.from({ length: count }).keys(), (n) =>
    live(daemon, client, `${prefix}-${n}`),
  );
}

async function live(daemon: Daemon, client: DaemonClient, id: string): Promise<void> {
  const { tasks, containers } = client;
  await putOnRecord(daemon, client, id, ["true"], { runtime: { name: daemon.runtime } });
  await createTask(client, id);
  const ended = tasks.wait({ containerId: id, execId: "" });
  await tasks.start({ containerId: id, execId: "" });
  await ended;
  await tasks.delete({ containerId: id });
  await containers.delete({ id });
}

async function timed(act: () => Promise<void>): Promise<number> {
  const began = performance.now();
  await act();
  return performance.now() - began;
}
