// What is remembered of each container until it is deleted: how its task ended, and the steps it went through. Fed by the exchange (as its recorder)
// and the API (calls); read by the history service. It also recognises an event that a shim sends again because we died before we had acknowledged it.
import { containerOfEvent, type EventFields, execOfEvent } from "../../api/event-types.ts";
import type { Envelope } from "../../api/generated/events.ts";
import type { Timestamp } from "../../api/generated/google/protobuf/timestamp.ts";
import {
  Cause,
  type Exit,
  type GetHistoryResponse as History,
  type HistoryRecord,
  type KillRequest,
  type Step,
  type Usage,
} from "../../api/generated/history.ts";
import type { DeleteResponse } from "../../api/generated/task.ts";
import { nsFromTimestamp, timestampFromNs } from "../../api/timestamp.ts";
import type { Table } from "./table.ts";
import { afterEvent, ended, marksFromSteps, NO_EXIT, NO_MARKS, type TaskRecord } from "./task-record.ts";

/** How many are shown: the newest. */
const MAX_STEPS = 64;
/** A shim sends one event at a time, and again until it is acknowledged. */
const MAX_RECENT = 32;
/** How many containers that we have removed by ourselves are remembered. */
const MAX_REMOVED = 256;

export type TaskEnd = Pick<DeleteResponse, "pid" | "exitStatus" | "exitedAt">;

interface Entry extends TaskRecord {
  exit: Exit | undefined;
  task: TaskRecord["task"];
  readonly steps: Step[];
  readonly recent: Step[];
  removedAt: Timestamp | undefined;
  /** Whether it will be written at the next immediate. */
  isDue: boolean;
}

export class Histories {
  readonly #table: Table<HistoryRecord>;
  readonly #entries = new Map<string, Entry>();
  /** Of containers that are no longer, the oldest first. */
  readonly #removed = new Map<string, Entry>();
  readonly #onError: (error: unknown) => void;

  /** `onError` hears of writes that failed: what is remembered stays in memory then. */
  constructor(table: Table<HistoryRecord>, onError: (error: unknown) => void) {
    this.#table = table;
    this.#onError = onError;
  }

  /** Begins to remember a container, or goes on with what is stored of it. */
  open(namespace: string, id: string): void {
    const key = keyOf(namespace, id);
    const stored = this.#table.find(namespace, id);
    this.#removed.delete(key);
    this.#entries.set(key, entryOf(stored?.removedAt === undefined ? stored : undefined));
  }

  /** Forgets a container. */
  close(namespace: string, id: string): void {
    this.#entries.delete(keyOf(namespace, id));
    this.#attempt(() => this.#table.removeNow(namespace, id));
  }

  /** Remembers a container that we have removed by ourselves, for those who still ask how it ended. */
  retire(namespace: string, id: string): void {
    const key = keyOf(namespace, id);
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    entry.removedAt = timestampFromNs(BigInt(Date.now()) * 1_000_000n);
    this.#entries.delete(key);
    this.#removed.set(key, entry);
    this.#save(namespace, id, entry);
    this.#boundRemoved();
  }

  #boundRemoved(): void {
    for (const key of this.#removed.keys()) {
      if (this.#removed.size <= MAX_REMOVED) return;
      this.#removed.delete(key);
      const [namespace, id] = partsOf(key);
      this.#attempt(() => this.#table.removeNow(namespace, id));
    }
  }

  /** To be called when all containers are open: what is stored of others goes, but for those that we have removed by ourselves. */
  removeOrphans(): void {
    const removed: [key: string, entry: Entry][] = [];
    for (const namespace of this.#table.namespaces()) {
      for (const id of this.#table.ids(namespace)) {
        const key = keyOf(namespace, id);
        const stored = this.#table.find(namespace, id);
        if (this.#entries.has(key)) continue;
        if (stored?.removedAt === undefined) this.#attempt(() => this.#table.removeNow(namespace, id));
        else removed.push([key, entryOf(stored)]);
      }
    }
    removed.sort(([, a], [, b]) => (nsOf(a.removedAt) < nsOf(b.removedAt) ? -1 : 1));
    for (const [key, entry] of removed) this.#removed.set(key, entry);
    this.#boundRemoved();
  }

  /** What is known; undefined for a container that is not. */
  find(namespace: string, id: string): History | undefined {
    const key = keyOf(namespace, id);
    const entry = this.#entries.get(key) ?? this.#removed.get(key);
    return entry && { exit: endOf(entry), steps: [...entry.steps], startedAt: entry.exit?.startedAt };
  }

  /** How the container's last task ended; undefined if it has not, as far as we know. */
  ended(namespace: string, id: string): Exit | undefined {
    return endOf(this.#entries.get(keyOf(namespace, id)));
  }

  /** Notes an event. Returns false if it is known already. It is on disk after published(). */
  note(envelope: Envelope, fields: EventFields | undefined): boolean {
    const { topic, namespace, timestamp: at } = envelope;
    const id = containerOfEvent(topic, fields);
    const entry = id === undefined ? undefined : this.#entries.get(keyOf(namespace, id));
    if (entry === undefined) return true;
    const execId = execOfEvent(topic, fields);
    if (isKnown(entry, topic, execId, at)) return false;
    if (execId === "") Object.assign(entry, afterEvent(entry, topic, fields, at));
    push(entry.recent, { at, what: topic, execId, tookNs: 0n, detail: "" }, MAX_RECENT);
    push(entry.steps, { at, what: topic, execId, tookNs: 0n, detail: essence(topic, fields) }, MAX_STEPS);
    return true;
  }

  /** Writes down, before it returns, what has been noted of an event's container. */
  published({ topic, namespace }: Envelope, fields: EventFields | undefined): void {
    const id = containerOfEvent(topic, fields);
    const entry = id === undefined ? undefined : this.#entries.get(keyOf(namespace, id));
    if (id !== undefined && entry !== undefined) this.#save(namespace, id, entry);
  }

  /** Notes, on disk, that a shim has made a task: its end must be published, even if no event of it ever comes. */
  noteCreated(namespace: string, id: string, pid: number): void {
    const entry = this.#entries.get(keyOf(namespace, id));
    if (entry === undefined) return;
    // Its event may have come before.
    if (entry.task.created && entry.exit?.pid === pid) return;
    entry.exit = { ...NO_EXIT, pid };
    entry.task = { ...NO_MARKS, created: true };
    this.#save(namespace, id, entry);
  }

  /** Whether the container's last task was made, as far as we know. */
  wasCreated(namespace: string, id: string): boolean {
    return this.#entries.get(keyOf(namespace, id))?.task.created === true;
  }

  /** Notes, on disk, how a task ended, before the event is published. `cause` is for one that only we know. */
  noteEnd(
    namespace: string,
    id: string,
    { pid, exitStatus: status, exitedAt }: TaskEnd,
    cause?: readonly [cause: Cause, detail: string],
  ): void {
    const entry = this.#entries.get(keyOf(namespace, id));
    if (entry === undefined) return;
    const exit = ended(entry.exit ?? NO_EXIT, { pid, status, exitedAt }, entry.task.kill);
    entry.exit = cause === undefined ? exit : { ...exit, cause: cause[0], causeDetail: cause[1] };
    this.#save(namespace, id, entry);
  }

  /** The status of the end is no status: nobody has seen it. To be called right after note(). */
  noteUnknown(namespace: string, id: string): void {
    const entry = this.#entries.get(keyOf(namespace, id));
    if (entry?.exit === undefined) return;
    const causeDetail = "it ended while it had no shim: nobody knows with which status";
    entry.exit = { ...entry.exit, cause: Cause.CAUSE_STATUS_UNKNOWN, causeDetail };
  }

  /** Whether subscribers have got the end of the container's last task. */
  isEndPublished(namespace: string, id: string): boolean {
    return this.#entries.get(keyOf(namespace, id))?.task.exitPublished === true;
  }

  /** Ends that were noted, and never published: an earlier daemon died between the two. */
  unpublished(): { readonly namespace: string; readonly id: string; readonly end: TaskEnd }[] {
    return [...this.#entries].flatMap(([key, { exit, task }]) => {
      if (exit?.exitedAt === undefined || !task.created || task.exitPublished) return [];
      const [namespace, id] = partsOf(key);
      const { pid, status: exitStatus, exitedAt } = exit;
      return [{ namespace, id, end: { pid, exitStatus, exitedAt } }];
    });
  }

  /** Notes a signal that a client wants sent to the init, before it is: the end may come before the answer. Returns what takes it back. */
  noteKill(namespace: string, id: string, kill: KillRequest): () => void {
    const entry = this.#entries.get(keyOf(namespace, id));
    if (entry === undefined) return () => {};
    const before = entry.task.kill;
    entry.task = { ...entry.task, kill };
    this.#saveSoon(namespace, id, entry);
    return () => {
      if (entry.task.kill === kill) entry.task = { ...entry.task, kill: before };
    };
  }

  /** Adds a step that is no event: a call of a client that has ended, or what became of the shim. */
  noteStep(namespace: string, id: string, step: Step): void {
    const entry = this.#entries.get(keyOf(namespace, id));
    if (entry === undefined) return;
    push(entry.steps, step, MAX_STEPS);
    this.#saveSoon(namespace, id, entry);
  }

  /** Adds what a task has used by its end. */
  noteUsage(namespace: string, id: string, usage: Usage): void {
    const entry = this.#entries.get(keyOf(namespace, id));
    if (entry?.exit === undefined) return;
    entry.exit = { ...entry.exit, usage };
    this.#saveSoon(namespace, id, entry);
  }

  /** On record when it returns: nothing that is published later can be overtaken by an older state of it. */
  #save(namespace: string, id: string, { exit, task, steps, recent, removedAt }: Entry): void {
    const record = { exit, task, steps: [...steps], recent: [...recent], removedAt };
    this.#attempt(() => this.#table.putNow(namespace, id, record));
  }

  /** Not now: what has been noted just now may not have been published yet, see Exchange. */
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

function entryOf(stored: HistoryRecord | undefined): Entry {
  const { exit, steps = [], recent = [], task, removedAt } = stored ?? {};
  return {
    exit,
    task: task ?? marksFromSteps(exit, steps),
    steps: [...steps],
    recent: [...(task === undefined ? steps.filter(({ what }) => what.startsWith("/")) : recent)],
    removedAt,
    isDue: false,
  };
}

function endOf(entry: Entry | undefined): Exit | undefined {
  return entry?.exit?.exitedAt === undefined ? undefined : entry.exit;
}

/** Whether an event has come before. A task has one exit and one delete, whoever tells of them and when. */
function isKnown({ task, recent }: Entry, topic: string, execId: string, at: Timestamp | undefined): boolean {
  if (execId === "" && topic === "/tasks/exit" && task.exitPublished) return true;
  if (execId === "" && topic === "/tasks/delete" && task.deletePublished) return true;
  return recent.some((step) => step.what === topic && step.execId === execId && sameTime(step.at, at));
}

function push(steps: Step[], step: Step, most: number): void {
  steps.push(step);
  if (steps.length > most) steps.splice(0, steps.length - most);
}

function keyOf(namespace: string, id: string): string {
  return `${namespace}/${id}`;
}

function partsOf(key: string): [namespace: string, id: string] {
  const [namespace = "", id = ""] = key.split("/");
  return [namespace, id];
}

function nsOf(at: Timestamp | undefined): bigint {
  return at === undefined ? 0n : nsFromTimestamp(at);
}

function sameTime(a: Timestamp | undefined, b: Timestamp | undefined): boolean {
  return a?.seconds === b?.seconds && a?.nanos === b?.nanos;
}

/** What an event says beside whom it is about. */
function essence(topic: string, fields: EventFields | undefined): string {
  const { pid, exitStatus } = fields ?? {};
  if (topic === "/tasks/exit" || topic === "/tasks/delete") return `exit status ${exitStatus}`;
  return typeof pid === "number" && pid > 0 ? `pid ${pid}` : "";
}
