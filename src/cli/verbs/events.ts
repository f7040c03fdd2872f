// `holdfast events` and `timeline`: what happens, and what happened to one container.
import type { Command } from "commander";
import { patiently } from "../containers/daemon-task.ts";
import { eventStream } from "../containers/event-stream.ts";
import { containerId } from "../containers/names.ts";
import { getContainer, orNone } from "../containers/record.ts";
import { pastOf, type Step } from "../containers/timeline.ts";
import { containerOf, type DaemonEvent, eventDetail, execOf, readEvent } from "../text/event-text.ts";
import type { Screen } from "../text/screen.ts";
import { duration, nsToIso } from "../text/units.ts";
import { daemonVerb, firstContainer, type Visit } from "./daemon-verb.ts";
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
  const { topic = [], count } = command.opts<{ topic?: readonly string[]; count?: number }>();
  if (count === 0) return;
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
  for await (const item of eventStream(daemon, asked)) {
    if (item === "away") screen.note("the daemon is away; what happens meanwhile is not shown");
    else if (item === "back") screen.note("the daemon is back");
    else {
      const event = readEvent(item);
      if (screen.json) screen.value(describeEvent(event));
      else screen.line(eventLine(event, screen.colors));
      if (++seen === count) return;
    }
  }
}

function describeEvent({ at, namespace, topic, type, fields }: DaemonEvent): Record<string, unknown> {
  return { at: nsToIso(at), namespace, topic, type, event: fields ?? null };
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

async function timelineVerb(visit: Visit): Promise<void> {
  const { daemon, command, words, settings } = visit;
  if (command.opts<{ follow?: boolean }>().follow === true) {
    await followTimeline(visit, words[0] ?? "");
    return;
  }
  const container = await getContainer(daemon, await firstContainer(visit));
  const past = await pastOf(daemon, container, settings.timeoutMs);
  new Steps(settings.screen).table(past);
}

/** Ends when the container is deleted; it need not exist yet. */
async function followTimeline({ daemon, settings }: Visit, word: string): Promise<void> {
  const { screen, timeoutMs } = settings;
  const steps = new Steps(screen);
  const id = await containerId(daemon, word);
  // Listening first, so that nothing falls between past and future.
  const stream = eventStream(daemon, [`namespace==${JSON.stringify(daemon.namespace)}`]);
  let next = stream.next();
  next.catch(() => {});
  const past = async (): Promise<Step[] | undefined> => {
    const container = await orNone(getContainer(daemon, id));
    return container && pastOf(daemon, container, timeoutMs);
  };
  const before = await past();
  steps.table(before ?? []);
  let isThere = before !== undefined;
  for (let item = await next; item.done !== true; item = await next) {
    next = stream.next();
    next.catch(() => {});
    if (item.value === "away") screen.note("the daemon is away; what it remembers is shown when it is back");
    else if (item.value === "back") {
      const now = await patiently(past);
      for (const step of now ?? []) steps.add(step);
      if (now === undefined && isThere) return;
      isThere = now !== undefined;
    } else {
      const event = readEvent(item.value);
      if (containerOf(event) !== id) continue;
      isThere = true;
      steps.add(stepOf(event));
      if (event.topic === "/containers/delete") return;
    }
  }
}

/** Steps as they are printed, each once: after a restart of the daemon its memory is read again. */
class Steps {
  readonly #screen: Screen;
  #last: Step | undefined;
  readonly #seen = new Set<string>();

  constructor(screen: Screen) {
    this.#screen = screen;
  }

  table(steps: readonly Step[]): void {
    for (const step of steps) this.#seen.add(keyOf(step));
    if (this.#screen.json) for (const step of steps) this.#screen.value(describeStep(step));
    else {
      const rows = steps.map((step, index) => stepCells(step, steps[index - 1]));
      this.#screen.table(["TIME", "SINCE THE LAST", "TOOK", "WHAT"], rows);
    }
    this.#last = steps.at(-1);
  }

  add(step: Step): void {
    if (this.#seen.has(keyOf(step))) return;
    this.#seen.add(keyOf(step));
    if (this.#screen.json) this.#screen.value(describeStep(step));
    else {
      const cells = stepCells(step, this.#last).map((cell, index) => cell.padEnd(STEP_WIDTHS[index] ?? 0));
      this.#screen.line(cells.join("  "));
    }
    this.#last = step;
  }
}

const STEP_WIDTHS: readonly number[] = [12, 14, 7, 0];

/** An event comes with more detail than its memory, at the same time to the nanosecond. */
function keyOf({ at, what }: Step): string {
  return `${at} ${what.split(":")[0]}`;
}

function describeStep({ at, what, detail, tookMs }: Step): Record<string, unknown> {
  return { at: nsToIso(at), what, detail: detail ?? null, tookMs: tookMs ?? null };
}

function stepOf(event: DaemonEvent): Step {
  const exec = execOf(event);
  const detail = eventDetail(event);
  const what = `${event.topic}${exec === undefined ? "" : ` ${exec}`}${detail === "" ? "" : `: ${detail}`}`;
  return { at: event.at, what, tookMs: undefined };
}

function stepCells(step: Step, before: Step | undefined): string[] {
  const since = before === undefined ? "" : `+${duration(Math.max(0, Number(step.at - before.at) / 1e6))}`;
  return [clock(step.at), since, step.tookMs === undefined ? "" : duration(step.tookMs), whatOf(step)];
}

function whatOf({ what, detail }: Step): string {
  return detail === undefined ? what : `${what}: ${detail}`;
}

/** Local time of day, to the millisecond. */
function clock(ns: bigint): string {
  const date = new Date(Number(ns / 1_000_000n));
  return `${date.toTimeString().slice(0, 8)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}
