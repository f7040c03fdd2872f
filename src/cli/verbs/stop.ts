// `holdfast stop` and `restart`: an end that a container may prepare for, and then one that it may not.
import { type Command, InvalidArgumentError, Option } from "commander";
import { AUTO_REMOVE_LABEL, STOP_SIGNAL_LABEL } from "../../api/labels.ts";
import { within } from "../../platform/deadline.ts";
import { nodeClock } from "../../platform/node.ts";
import { DaemonTask } from "../containers/daemon-task.ts";
import { getContainer, isNotFound, orNone } from "../containers/record.ts";
import { Problem } from "../text/problem.ts";
import { signalNumber } from "../text/signals.ts";
import { statusName } from "../text/task-status.ts";
import { MAX_DURATION_MS, parseDuration } from "../text/units.ts";
import { type Check, daemonVerb, forEachAtOnce, type Visit } from "./daemon-verb.ts";
import { examples } from "./options.ts";
import { startAgain } from "./run.ts";

const SIGKILL = 9;
const DEFAULT_TIME = 10_000;

interface StopFlags {
  readonly signal?: string;
  readonly time: number;
}

export function addStopVerbs(program: Command): void {
  const stop = daemonVerb(
    program,
    "stop <id...>",
    "ask containers to end, and end those that do not",
    (visit) =>
      forEachAtOnce(visit, async (id) => {
        await stopOne(visit, id);
        visit.settings.screen.id(id);
      }),
    checkStop,
  );
  examples(
    stopFlags(stop),
    ["holdfast stop web db", "SIGTERM, or what run --stop-signal says; SIGKILL after ten seconds"],
    ["holdfast stop -t 1m -s SIGRTMIN+3 machine", "another signal, and more time"],
  );
  const restart = daemonVerb(
    program,
    "restart <id...>",
    "stop containers, and start them again",
    (visit) =>
      forEachAtOnce(visit, async (id) => {
        await restartOne(visit, id);
        visit.settings.screen.id(id);
      }),
    checkStop,
  );
  examples(stopFlags(restart), [
    "holdfast restart web",
    "the same container, from its beginning; logs keeps what it has printed",
  ]);
}

const checkStop: Check = ({ command }) => {
  const { signal } = command.opts<StopFlags>();
  if (signal !== undefined) signalNumber(signal);
};

function stopFlags(command: Command): Command {
  return command
    .option("-s, --signal <signal>", "name or number (SIGTERM, or the container's own stop signal)")
    .addOption(
      new Option("-t, --time <duration>", "how long it may take before SIGKILL; -1 for ever")
        .argParser(timeArgument)
        .default(DEFAULT_TIME, "10s"),
    );
}

/** For commander: milliseconds, also 0, and infinity for -1. */
function timeArgument(text: string): number {
  const ms = text === "-1" ? Number.POSITIVE_INFINITY : parseDuration(text);
  if (ms === undefined || (ms > MAX_DURATION_MS && text !== "-1"))
    throw new InvalidArgumentError("give a duration such as 0, 500ms, 5s or 1m30s, or -1.");
  return ms;
}

/** One that does not run has been stopped. */
async function stopOne({ daemon, command }: Visit, id: string): Promise<void> {
  const { signal, time } = command.opts<StopFlags>();
  const { labels } = await getContainer(daemon, id);
  const number = signalNumber(signal ?? labels[STOP_SIGNAL_LABEL] ?? "SIGTERM");
  const found = (await orNone(daemon.tasks.get({ containerId: id, execId: "" })))?.process;
  const status = found === undefined ? "stopped" : statusName(found.status);
  if (status === "stopped" || status === "created") return;
  const task = new DaemonTask(daemon, id);
  // Of one that is deleted as soon as it has ended nothing may be left to wait for.
  const ended = task.wait("").catch((error: unknown) => {
    if (!isNotFound(error)) throw error;
  });
  ended.catch(() => {});
  if (time > 0) await orNone(task.kill("", number));
  // A frozen process gets its signal when it goes on.
  if (status !== "running") await daemon.tasks.resume({ containerId: id }).catch(() => {});
  if (await endsIn(ended, time)) return;
  await orNone(task.kill("", SIGKILL, true));
  await ended;
}

async function endsIn(ended: Promise<unknown>, ms: number): Promise<boolean> {
  if (!(await within(nodeClock, ms, ended))) return false;
  await ended;
  return true;
}

async function restartOne(visit: Visit, id: string): Promise<void> {
  const { labels } = await getContainer(visit.daemon, id);
  if (labels[AUTO_REMOVE_LABEL] === "true") {
    throw new Problem("it is deleted when it has ended (run --rm): stop it, and run it anew");
  }
  await stopOne(visit, id);
  await startAgain(visit, id);
}
