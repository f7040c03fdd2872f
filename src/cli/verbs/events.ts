// `holdfast events` and `timeline`: what happens, and what happened to one container.
import type { Command } from "commander";
import { getContainer, orNone } from "../containers/record.ts";
import { pastOf, type Step } from "../containers/timeline.ts";
import { containerOf, type DaemonEvent, eventDetail, execOf, readEvent } from "../text/event-text.ts";
import { Problem } from "../text/problem.ts";
import { duration, nsToIso } from "../text/units.ts";
import { daemonVerb, type Visit } from "./daemon-verb.ts";
import { collect, countArgument, examples } from "./options.ts";

export function addEventVerbs(program: Command): void {
  const events = daemonVerb(program, "events [filter...]", "show what happens, as it happens", eventsVerb)
    .option("--topic <topic>", "only this topic, such as /tasks/exit; may be given again", collect)
    .option("--count <number>", "end after so many", countArgument);
  examples(
    events,
    ["holdfast events", "of all namespaces"],
    ["holdfast events -n test --topic /tasks/exit --topic /tasks/oom", "ends, in one namespace"],
    ["holdfast events 'topic~=\"/tasks/.*\"' --json", "with containerd's filter syntax, for a program"],
  );
  const timeline = daemonVerb(
    program,
    "timeline <id>",
    "show what happened to a container, and how long each step took",
    timelineVerb,
  ).option("-f, --follow", "go on until it is deleted; the container need not exist yet");
  examples(
    timeline,
    ["holdfast timeline web", "as holdfastd remembers it; from record, shim and exit with another daemon"],
    ["holdfast timeline -f web", "that, and what comes"],
  );
}

async function eventsVerb({ daemon, words, command, settings }: Visit): Promise<void> {
  const { topic = [], count = 0 } = command.opts<{ topic?: readonly string[]; count?: number }>();
  const { screen } = settings;
  const topics = topic.map((each) => `topic==${JSON.stringify(each)}`);
  const filters = [...words, ...topics];
  const place = settings.namespaceGiven ? `namespace==${JSON.stringify(settings.namespace)}` : undefined;
  const asked =
    place === undefined
      ? filters
      : filters.length === 0
        ? [place]
        : filters.map((each) => `${place},${each}`);
  let seen = 0;
  for await (const envelope of daemon.events.subscribe({ filters: asked })) {
    const event = readEvent(envelope);
    if (screen.json) screen.value({ ...event, at: isoNs(event.at), event: event.fields, fields: undefined });
    else screen.line(eventLine(event, screen.colors));
    if (++seen === count) return;
  }
  throw new Problem("the daemon has ended the stream of events");
}

function eventLine(event: DaemonEvent, colors: Visit["settings"]["screen"]["colors"]): string {
  const exec = execOf(event);
  const whom = [containerOf(event) ?? "", exec === undefined ? "" : `exec ${exec}`]
    .filter((part) => part !== "")
    .join(" ");
  const topic = /oom|exit/.test(event.topic) ? colors.yellow(event.topic) : colors.cyan(event.topic);
  return [colors.dim(clock(event.at)), event.namespace, topic, whom, eventDetail(event)]
    .filter((part) => part !== "")
    .join("  ");
}

async function timelineVerb({ daemon, words, command, settings }: Visit): Promise<void> {
  const [id = ""] = words;
  const { follow } = command.opts<{ follow?: boolean }>();
  const { screen, timeoutMs } = settings;
  // Listening first, so that nothing falls between past and future.
  const filter = `namespace==${JSON.stringify(daemon.namespace)}`;
  const stream = follow === true ? daemon.events.subscribe({ filters: [filter] }) : undefined;
  const first = stream?.next();
  first?.catch(() => {});
  const container = follow === true ? await orNone(getContainer(daemon, id)) : await getContainer(daemon, id);
  const past = container === undefined ? [] : await pastOf(daemon, container, timeoutMs);
  if (screen.json) for (const step of past) screen.value({ ...step, at: isoNs(step.at) });
  else {
    const rows = past.map((step, index) => stepCells(step, past[index - 1]));
    screen.table(["TIME", "SINCE THE LAST", "TOOK", "WHAT"], rows);
  }
  let last = past.at(-1);
  for (let next = await first; stream !== undefined && next?.done === false; next = await stream.next()) {
    const event = readEvent(next.value);
    if (containerOf(event) !== id) continue;
    const step = stepOf(event);
    if (screen.json) screen.value({ ...step, at: isoNs(step.at) });
    else
      screen.line(
        stepCells(step, last)
          .map((cell, index) => cell.padEnd([12, 14, 7, 0][index] ?? 0))
          .join("  "),
      );
    last = step;
    if (event.topic === "/containers/delete") return;
  }
}

function stepOf(event: DaemonEvent): Step {
  const exec = execOf(event);
  const detail = eventDetail(event);
  const what = `${event.topic}${exec === undefined ? "" : ` ${exec}`}${detail === "" ? "" : `: ${detail}`}`;
  return { at: event.at, what, tookMs: undefined };
}

function stepCells(step: Step, before: Step | undefined): string[] {
  const since = before === undefined ? "" : `+${duration(Math.max(0, Number(step.at - before.at) / 1e6))}`;
  return [clock(step.at), since, step.tookMs === undefined ? "" : duration(step.tookMs), step.what];
}

/** Local time of day, to the millisecond. */
function clock(ns: bigint): string {
  const date = new Date(Number(ns / 1_000_000n));
  return `${date.toTimeString().slice(0, 8)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

function isoNs(ns: bigint): string {
  const seconds = nsToIso(ns)?.slice(0, 19) ?? "";
  return `${seconds}.${(ns % 1_000_000_000n).toString().padStart(9, "0")}Z`;
}
