// `holdfast wait`: until containers have ended.
import type { Command } from "commander";
import type { DaemonClient } from "../containers/daemon-client.ts";
import { describeEnd, type End, endOf, historyOf, waitForEnd } from "../containers/end.ts";
import { containerId } from "../containers/names.ts";
import { Problem } from "../text/problem.ts";
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
  const ends = words.map((word) => ({ word, end: endOfWord(daemon, word) }));
  for (const { end } of ends) end.catch(() => {});
  for (const { word, end: ending } of ends) {
    try {
      const { id, end } = await Promise.race([ending, late]);
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

async function endOfWord(daemon: DaemonClient, word: string): Promise<{ id: string; end: End }> {
  const id = await containerId(daemon, word);
  return { id, end: await waitForEnd(daemon, id) };
}

/** Rejects with a Problem once something was waited for as long as --timeout says; never without one. */
export function deadline(ms: number | undefined): Promise<never> {
  const late = new Promise<never>((_, reject) => {
    if (ms === undefined) return;
    setTimeout(() => reject(new Problem(`it still runs after ${duration(ms)}`, TOO_LONG)), ms);
  });
  late.catch(() => {});
  return late;
}
