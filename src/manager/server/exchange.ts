// Where all events pass: those of shims and clients, and our own, on to whoever subscribed. The API's events services and tasks.ts use it.

import { type EventFields, readEventFields } from "../../api/event-types.ts";
import type { Envelope } from "../../api/generated/events.ts";
import { timestampFromNs } from "../../api/timestamp.ts";
import type { Topic } from "../../events/topics.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { parseFilters } from "./filters.ts";
import { validateIdentifier } from "./identifiers.ts";

/** How many bytes of events may wait for a subscriber who does not read, before it is cut off and knows that it has missed some. */
const MAX_WAITING_BYTES = 32 * 1024 * 1024;
/** What an event takes beside its content. */
const EVENT_OVERHEAD_BYTES = 400;

/** For how long after our start, in ms, a new subscriber gets all since then: our restart has cut it off, and it must not miss what happened meanwhile. */
const CATCH_UP_MS = 10_000;

/** Remembers events. */
export interface EventRecorder {
  /** Sees every event before the subscribers do. Returns false if it knows it already: then it goes no further. */
  note(envelope: Envelope, fields: EventFields | undefined): boolean;
  /** The event is on its way to the subscribers. */
  published(envelope: Envelope, fields: EventFields | undefined): void;
}

type Matcher = (envelope: Envelope, fields: EventFields | undefined) => boolean;

export class Exchange {
  readonly #subscriptions = new Set<Subscription>();
  readonly #recorder: EventRecorder;
  /** undefined once the time for it is over. */
  #sinceStart: { readonly envelope: Envelope; readonly fields: EventFields | undefined }[] | undefined = [];
  #sinceStartBytes = 0;
  #lastNs = 0n;

  constructor(recorder: EventRecorder) {
    this.#recorder = recorder;
    const forget = setTimeout(() => {
      this.#sinceStart = undefined;
    }, CATCH_UP_MS);
    forget.unref();
  }

  /** Publishes an event of our own. */
  publish<T>(namespace: string, { topic, typeUrl, codec }: Topic<T>, event: T): void {
    const value = codec.encode(event).finish();
    void this.#publish({
      timestamp: timestampFromNs(this.#now()),
      namespace,
      topic,
      event: { typeUrl, value },
    });
  }

  /** Publishes a client's event, stamped by us. Throws INVALID_ARGUMENT. */
  publishFor(namespace: string, topic: string, event: Envelope["event"]): void {
    validateTopic(topic);
    void this.#publish({ timestamp: timestampFromNs(this.#now()), namespace, topic, event });
  }

  /** Publishes an event that somebody else has stamped, unless it was before. Resolves once it is on record too. Rejects with INVALID_ARGUMENT. */
  async forward(envelope: Envelope | undefined): Promise<void> {
    if (envelope?.timestamp === undefined)
      throw new TtrpcError(Code.INVALID_ARGUMENT, "envelope: timestamp must be set");
    validateIdentifier("event envelope has invalid namespace", envelope.namespace);
    validateTopic(envelope.topic);
    await this.#publish(envelope);
  }

  /** The events from now on (and those since our start, if that was just now) that any of the filters matches, until the iterator is returned. Throws INVALID_ARGUMENT. */
  subscribe(filters: readonly string[]): Subscription {
    const filter = parseFilters(filters);
    const matches: Matcher = (envelope, fields) => filter((path) => fieldOf(envelope, fields, path));
    const subscription = new Subscription(matches, () => this.#subscriptions.delete(subscription));
    this.#subscriptions.add(subscription);
    for (const { envelope, fields } of this.#sinceStart ?? []) subscription.offer(envelope, fields);
    return subscription;
  }

  /**
   * First published, then on record: whoever sends an event sends it again if we die in between, so it is never lost. What is written to subscribers now
   * is handed to the kernel before the next immediate runs, so it is published twice only if we die between the two.
   */
  #publish(envelope: Envelope): Promise<void> {
    const fields = readEventFields(envelope.event);
    if (!this.#recorder.note(envelope, fields)) return Promise.resolve();
    this.#keepSinceStart(envelope, fields);
    for (const subscription of this.#subscriptions) subscription.offer(envelope, fields);
    return new Promise((resolve) => {
      setImmediate(() => {
        this.#recorder.published(envelope, fields);
        resolve();
      });
    });
  }

  /** The oldest go first if it is too much: whoever comes this late has missed them. */
  #keepSinceStart(envelope: Envelope, fields: EventFields | undefined): void {
    if (this.#sinceStart === undefined) return;
    this.#sinceStart.push({ envelope, fields });
    this.#sinceStartBytes += sizeOf(envelope);
    while (this.#sinceStartBytes > MAX_WAITING_BYTES) {
      const oldest = this.#sinceStart.shift();
      if (oldest === undefined) return;
      this.#sinceStartBytes -= sizeOf(oldest.envelope);
    }
  }

  get subscribers(): number {
    return this.#subscriptions.size;
  }

  /** No two events of ours have the same time. */
  #now(): bigint {
    const now = BigInt(Date.now()) * 1_000_000n;
    this.#lastNs = now > this.#lastNs ? now : this.#lastNs + 1n;
    return this.#lastNs;
  }
}

export class Subscription implements AsyncIterableIterator<Envelope, undefined> {
  readonly #matches: Matcher;
  readonly #left: () => void;
  #waiting: Envelope[] = [];
  /** Of those in #waiting, how many have been read. */
  #read = 0;
  #waitingBytes = 0;
  #reader:
    | { resolve(result: IteratorResult<Envelope, undefined>): void; reject(error: Error): void }
    | undefined;
  #end: TtrpcError | "returned" | undefined;

  constructor(matches: Matcher, left: () => void) {
    this.#matches = matches;
    this.#left = left;
  }

  offer(envelope: Envelope, fields: EventFields | undefined): void {
    if (this.#end !== undefined || !this.#matches(envelope, fields)) return;
    const reader = this.#reader;
    this.#reader = undefined;
    if (reader !== undefined) reader.resolve({ done: false, value: envelope });
    else this.#queue(envelope);
  }

  #queue(envelope: Envelope): void {
    this.#waiting.push(envelope);
    this.#waitingBytes += sizeOf(envelope);
    if (this.#waitingBytes <= MAX_WAITING_BYTES) return;
    const text = `subscriber has not read ${this.#waitingBytes} bytes of events: subscribe again`;
    this.fail(new TtrpcError(Code.RESOURCE_EXHAUSTED, text));
  }

  #unqueue(): Envelope | undefined {
    const envelope = this.#waiting[this.#read];
    if (envelope === undefined) return undefined;
    this.#read += 1;
    this.#waitingBytes -= sizeOf(envelope);
    if (this.#read * 2 > this.#waiting.length) {
      this.#waiting.splice(0, this.#read);
      this.#read = 0;
    }
    return envelope;
  }

  /** What waits is still read; then comes the error. */
  fail(error: TtrpcError): void {
    if (this.#end !== undefined) return;
    this.#end = error;
    this.#left();
    this.#reader?.reject(error);
    this.#reader = undefined;
  }

  next(): Promise<IteratorResult<Envelope, undefined>> {
    const value = this.#unqueue();
    if (value !== undefined) return Promise.resolve({ done: false, value });
    if (this.#end instanceof TtrpcError) {
      const error = this.#end;
      this.#end = "returned";
      return Promise.reject(error);
    }
    if (this.#end !== undefined) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
    });
  }

  return(): Promise<IteratorResult<Envelope, undefined>> {
    this.#left();
    this.#end = "returned";
    this.#waiting = [];
    this.#read = 0;
    this.#reader?.resolve({ done: true, value: undefined });
    this.#reader = undefined;
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

function sizeOf({ namespace, topic, event }: Envelope): number {
  const length = (event?.value.length ?? 0) + (event?.typeUrl.length ?? 0);
  return EVENT_OVERHEAD_BYTES + namespace.length + topic.length + length;
}

/** "/tasks/exit": components by the identifier rule, as containerd's exchange has it. */
function validateTopic(topic: string): void {
  if (!topic.startsWith("/") || topic.length === 1) {
    throw new TtrpcError(
      Code.INVALID_ARGUMENT,
      `topic ${JSON.stringify(topic)} must start with '/' and name something`,
    );
  }
  for (const component of topic.slice(1).split("/"))
    validateIdentifier(`topic ${JSON.stringify(topic)}`, component);
}

/** The fields that filters know: namespace, topic, and event.… by the names of the proto. */
function fieldOf(
  envelope: Envelope,
  fields: EventFields | undefined,
  path: readonly string[],
): string | undefined {
  const [first, ...rest] = path;
  if (first === "namespace") return envelope.namespace;
  if (first === "topic") return envelope.topic;
  if (first !== "event") return undefined;
  let value: unknown = fields;
  for (const name of rest) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as EventFields)[name] ?? (value as EventFields)[camelCase(name)];
  }
  return typeof value === "string" && value !== "" ? value : undefined;
}

function camelCase(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
