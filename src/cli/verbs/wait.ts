// `holdfast wait`: until containers have ended.
import type { Command } from "commander";
import { nodeClock } from "../../platform/node.ts";
import type { DaemonClient } from "../containers/daemon-client.ts";
import { describeEnd, type End, endOf, historyOf, waitForEnd } from "../containers/end.ts";
import { containerId } from "../containers/names.ts";
import { orNone } from "../containers/record.ts";
import { Problem } from "../text/problem.ts";
import { statusName } from "../text/task-status.ts";
import { duration } from "../text/units.ts";
import { daemonVerb, failed, type Visit } from "./daemon-verb.ts";
import { examples } from "./options.ts";

/** As of timeout(1). */
const TOO_LONG = 124;

export function addWait(program: Command): void {
  const wait = daemonVerb(
    program,
    "wait <id...>",
    "wait for the end; prints the exit status of each",
    waitVerb,
  );
  examples(
    wait,
    ["status=$(holdfast wait web)", "in a script"],
    ["holdfast wait --timeout 30s web", "not for longer: exit status 124 if it still runs then"],
  );
}

async function waitVerb({ daemon, words, settings }: Visit): Promise<void> {
  const { screen, timeoutGivenMs } = settings;
  const late = deadline(timeoutGivenMs);
  // All at once: they end in any order.
  const ends = words.map((word) => ({ word, sought: seek(daemon, word) }));
  for (const { sought } of ends) sought.catch(() => {});
  for (const { word, sought } of ends) {
    try {
      const { id, runs, ending } = await sought;
      // What has ended has not run for too long, however long the daemon takes to say so.
      const end = await (runs ? Promise.race([ending, late]) : ending);
      if (!screen.json) screen.line(String(end.status));
      else {
        const history = end.more === undefined ? await historyOf(daemon, id) : undefined;
        screen.value({ id, ...describeEnd(endOf(undefined, history) ?? end) });
      }
    } catch (error) {
      failed(word, error);
    }
  }
}

interface Sought {
  readonly id: string;
  readonly runs: boolean;
  readonly ending: Promise<End>;
}

async function seek(daemon: DaemonClient, word: string): Promise<Sought> {
  const id = await containerId(daemon, word);
  const ending = waitForEnd(daemon, id);
  ending.catch(() => {});
  return { id, runs: await mayRun(daemon, id), ending };
}

async function mayRun(daemon: DaemonClient, id: string): Promise<boolean> {
  try {
    const task = (await orNone(daemon.tasks.get({ containerId: id, execId: "" })))?.process;
    return task !== undefined && statusName(task.status) !== "stopped";
  } catch {
    return true;
  }
}

/** Rejects with a Problem once something was waited for as long as --timeout says; never without one. */
export function deadline(ms: number | undefined): Promise<never> {
  const late = new Promise<never>((_, reject) => {
    if (ms === undefined) return;
    nodeClock.after(ms, () => reject(new Problem(`it still runs after ${duration(ms)}`, TOO_LONG)));
  });
  late.catch(() => {});
  return late;
}
