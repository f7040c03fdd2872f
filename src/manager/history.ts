// What is remembered of each container until it is deleted: how its task ended, and the steps it went through. Fed by the exchange (as its witness)
// and the API (calls); read by the history service. It also recognises an event that a shim sends again because we died before we had thanked for it.
import { containerOfEvent, type EventFields, execOfEvent } from "../api/event-types.ts";
import type { Envelope } from "../api/generated/events.ts";
import type { Timestamp } from "../api/generated/google/protobuf/timestamp.ts";
import type { Exit, GetHistoryResponse as History, Step, Usage } from "../api/generated/history.ts";
import type { DeleteResponse } from "../api/generated/task.ts";
import { nsFromTimestamp } from "../api/timestamp.ts";
import type { Table } from "./table.ts";

const MAX_STEPS = 64;
/** A task has one of each. */
const ENDS: readonly string[] = ["/tasks/exit", "/tasks/delete"];

export type TaskEnd = Pick<DeleteResponse, "pid" | "exitStatus" | "exitedAt">;

/** `exit` exists from the creation of a task on; it tells of an end once it has exitedAt. */
interface Entry {
  exit: Exit | undefined;
  steps: Step[];
  /** Whether it will be written at the next immediate. */
  isDue: boolean;
}

export class Histories {
  readonly #table: Table<History>;
  readonly #entries = new Map<string, Entry>();
  readonly #onError: (error: unknown) => void;

  /** `onError` hears of writes that failed: what is remembered stays in memory then. */
  constructor(table: Table<History>, onError: (error: unknown) => void) {
    this.#table = table;
    this.#onError = onError;
  }

  /** Begins to remember a container, or goes on with what is stored of it. */
  open(namespace: string, id: string): void {
    const stored = this.#table.find(namespace, id);
    const { exit, steps = [] } = stored ?? {};
    this.#entries.set(keyOf(namespace, id), { exit, steps: [...steps], isDue: false });
  }

  /** Forgets a container. */
  close(namespace: string, id: string): void {
    this.#entries.delete(keyOf(namespace, id));
    this.#attempt(() => this.#table.removeNow(namespace, id));
  }

  /** Removes what is stored of containers that are not open. */
  removeStrangers(): void {
    for (const namespace of this.#table.namespaces()) {
      for (const id of this.#table.ids(namespace)) {
        if (!this.#entries.has(keyOf(namespace, id)))
          this.#attempt(() => this.#table.removeNow(namespace, id));
      }
    }
  }

  /** What is known; undefined for a container that is not. */
  find(namespace: string, id: string): History | undefined {
    const entry = this.#entries.get(keyOf(namespace, id));
    return entry && { exit: this.ended(namespace, id), steps: [...entry.steps] };
  }

  /** How the container's last task ended; undefined if it has not, as far as we know. */
  ended(namespace: string, id: string): Exit | undefined {
    const exit = this.#entries.get(keyOf(namespace, id))?.exit;
    return exit?.exitedAt === undefined ? undefined : exit;
  }

  /** Notes an event. Returns false if it is known already. It is on disk after told(). */
  note(envelope: Envelope, fields: EventFields | undefined): boolean {
    const { topic, namespace, timestamp } = envelope;
    const id = containerOfEvent(topic, fields);
    const entry = id === undefined ? undefined : this.#entries.get(keyOf(namespace, id));
    if (id === undefined || entry === undefined) return true;
    const execId = execOfEvent(topic, fields);
    const isSame = (step: Step): boolean =>
      step.what === topic && step.execId === execId && sameTime(step.at, timestamp);
    const isSecondEnd = execId === "" && ENDS.includes(topic) && isTold(entry, topic);
    if (isSecondEnd || entry.steps.some(isSame)) return false;
    if (execId === "") entry.exit = exitAfter(entry.exit, topic, fields, timestamp);
    addStep(entry, { at: timestamp, what: topic, execId, tookNs: 0n, detail: essence(topic, fields) });
    return true;
  }

  /** Writes down, before it returns, what has been noted of an event's container. */
  told({ topic, namespace }: Envelope, fields: EventFields | undefined): void {
    const id = containerOfEvent(topic, fields);
    const entry = id === undefined ? undefined : this.#entries.get(keyOf(namespace, id));
    if (id !== undefined && entry !== undefined) this.#save(namespace, id, entry);
  }

  /** Notes, on disk, how a task ended, before anybody is told; the event comes later. */
  noteEnd(namespace: string, id: string, end: TaskEnd): void {
    const entry = this.#entries.get(keyOf(namespace, id));
    if (entry === undefined) return;
    const { pid, exitStatus: status, exitedAt } = end;
    entry.exit = inOrder({ ...(entry.exit ?? { oom: false }), pid, status, exitedAt });
    this.#save(namespace, id, entry);
  }

  /** Whether subscribers have been told of the end of the container's last task. */
  isEndTold(namespace: string, id: string): boolean {
    const entry = this.#entries.get(keyOf(namespace, id));
    return entry !== undefined && isTold(entry, "/tasks/exit");
  }

  /** Ends that were noted, and told to nobody: an earlier daemon died between the two. */
  untold(): { readonly namespace: string; readonly id: string; readonly end: TaskEnd }[] {
    return [...this.#entries].flatMap(([key, entry]) => {
      if (entry.exit?.exitedAt === undefined || isTold(entry, "/tasks/exit")) return [];
      const [namespace = "", id = ""] = key.split("/");
      const { pid, status: exitStatus, exitedAt } = entry.exit;
      return [{ namespace, id, end: { pid, exitStatus, exitedAt } }];
    });
  }

  /** Notes a call of a client that has ended. */
  noteCall(namespace: string, id: string, step: Step): void {
    const entry = this.#entries.get(keyOf(namespace, id));
    if (entry === undefined) return;
    addStep(entry, step);
    this.#saveSoon(namespace, id, entry);
  }

  /** Adds what a task has used by its end. */
  noteUsage(namespace: string, id: string, usage: Usage): void {
    const entry = this.#entries.get(keyOf(namespace, id));
    if (entry?.exit === undefined) return;
    entry.exit = { ...entry.exit, usage };
    this.#saveSoon(namespace, id, entry);
  }

  /** On record when it returns: nothing that is told later can be overtaken by an older state of it. */
  #save(namespace: string, id: string, { exit, steps }: Entry): void {
    this.#attempt(() => this.#table.putNow(namespace, id, { exit, steps: [...steps] }));
  }

  /** Not now: what has been noted just now may not have been told yet, see Exchange. */
  #saveSoon(namespace: string, id: string, entry: Entry): void {
    if (entry.isDue) return;
    entry.isDue = true;
    setImmediate(() => {
      entry.isDue = false;
      if (this.#entries.get(keyOf(namespace, id)) === entry) this.#save(namespace, id, entry);
    });
  }

  #attempt(write: () => void): void {
    try {
      write();
    } catch (error) {
      this.#onError(error);
    }
  }
}

function addStep(entry: Entry, step: Step): void {
  entry.steps.push(step);
  if (entry.steps.length > MAX_STEPS) entry.steps.shift();
}

/** Whether the current task's event of that topic is among the steps. */
function isTold({ steps }: Entry, topic: string): boolean {
  const isOfInit = (wanted: string) => (step: Step) => step.what === wanted && step.execId === "";
  return steps.findLastIndex(isOfInit(topic)) > steps.findLastIndex(isOfInit("/tasks/create"));
}

function keyOf(namespace: string, id: string): string {
  return `${namespace}/${id}`;
}

function sameTime(a: Timestamp | undefined, b: Timestamp | undefined): boolean {
  return a?.seconds === b?.seconds && a?.nanos === b?.nanos;
}

/** What is known of a task after an event about its init. */
function exitAfter(
  exit: Exit | undefined,
  topic: string,
  fields: EventFields | undefined,
  at: Timestamp | undefined,
): Exit | undefined {
  const { pid, exitStatus, exitedAt } = fields ?? {};
  const known = exit ?? { status: 0, pid: 0, oom: false };
  switch (topic) {
    case "/tasks/create":
      return { status: 0, pid: Number(pid), oom: false };
    case "/tasks/start":
      return inOrder({ ...known, pid: Number(pid), startedAt: at });
    case "/tasks/oom":
      return { ...known, oom: true };
    case "/tasks/exit":
      return inOrder({
        ...known,
        pid: Number(pid),
        status: Number(exitStatus),
        exitedAt: (exitedAt as Timestamp | undefined) ?? at,
      });
    default:
      return exit;
  }
}

/** A shim knows of a start when the runtime's command has ended, and a short task has ended before that: it started no later than it ended. */
function inOrder(exit: Exit): Exit {
  const { startedAt, exitedAt } = exit;
  if (startedAt === undefined || exitedAt === undefined) return exit;
  return nsFromTimestamp(startedAt) > nsFromTimestamp(exitedAt) ? { ...exit, startedAt: exitedAt } : exit;
}

/** What an event says beside whom it is about. */
function essence(topic: string, fields: EventFields | undefined): string {
  const { pid, exitStatus } = fields ?? {};
  if (topic === "/tasks/exit" || topic === "/tasks/delete") return `exit status ${exitStatus}`;
  return typeof pid === "number" && pid > 0 ? `pid ${pid}` : "";
}
