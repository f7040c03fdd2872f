// Sends the shim's events to its daemon, in order, each until it is acknowledged: a daemon that is away for an hour finds every exit
// when it is back (moby issue 41227). One connection, one event under way at a time. Made by src/shim/serve.ts.
import { pack } from "../api/any.ts";
import { EventsDefinition, ForwardRequest } from "../api/generated/forward.ts";
import { timestampFromNs } from "../api/timestamp.ts";
import { errorText, type Log } from "../log/log.ts";
import { failpoint } from "../platform/failpoint.ts";
import type { Clock, Descriptors, Files, Net, Text, Timer } from "../platform/platform.ts";
import { noRecords, type Records } from "../platform/state-log.ts";
import { TtrpcClient } from "../ttrpc/client.ts";
import type { MethodDefinition } from "../ttrpc/definition.ts";
import { MAX_DATA_BYTES } from "../ttrpc/frame.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import type { PendingEvent } from "./pending-event.ts";
import { EventQueue } from "./queue.ts";
import type { SpillPlace } from "./spill.ts";
import type { EventSink, Topic } from "./topics.ts";

/** How long the daemon may take to acknowledge, in ms; longer where it stands still, so that it finds few copies when it goes on. */
const FORWARD_TIMEOUT = 5_000;
const FORWARD_TIMEOUT_LATER = 10_000;
/** Pauses between attempts while the daemon is away, in ms: one that is back is noticed at once. */
const RETRY_FIRST = 25;
const RETRY_MOST = 250;
/** How often an event is left without an answer before the next one is tried over its head. */
const UNANSWERED_BEFORE_PROBE = 2;
/** How often an event is refused, or passed over, before it is given up. */
const MAX_REFUSALS = 4;
/** How long to wait after a refusal, in ms: the reason may pass. */
const REFUSAL_PAUSE = 1_000;
/** What a request holds beside its event, in bytes, at most. */
const REQUEST_OVERHEAD = 1024;

/** Errors that the same event would meet for ever. */
const HOPELESS: readonly number[] = [Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED];
/** Errors that say nothing of the event: as if there had been no answer. */
const NO_ANSWER: readonly number[] = [Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED];

type Outcome = "acknowledged" | "refused" | "unanswered" | "away";

/** Forward, whose request is encoded already. */
const forward: MethodDefinition<Uint8Array, unknown> = {
  ...EventsDefinition.methods.forward,
  requestType: {
    encode: (bytes, writer) => (writer ?? ForwardRequest.encode({ envelope: undefined })).raw(bytes),
    decode: (input) => input as Uint8Array,
  },
};

export class Publisher implements EventSink {
  readonly #clock: Clock;
  readonly #net: Net;
  readonly #log: Log;
  readonly #namespace: string;
  /** The daemon's events socket; empty if nobody wants events. */
  readonly #address: string;
  readonly #queue: EventQueue;
  #client: TtrpcClient | undefined;
  #sending = false;
  #retry: Timer | undefined;
  #pause = RETRY_FIRST;
  #longestPause = RETRY_MOST;
  #flushed: (() => void)[] = [];

  /** `spill` is where events may wait for which memory has no room; those in memory stand in `records` too. */
  constructor(
    platform: { clock: Clock; net: Net; files: Files; fds: Descriptors; text: Text },
    log: Log,
    { namespace, address, spill }: { namespace: string; address: string; spill: SpillPlace },
    records: Records = noRecords,
  ) {
    this.#clock = platform.clock;
    this.#net = platform.net;
    this.#log = log;
    this.#namespace = namespace;
    this.#address = address;
    this.#queue = new EventQueue(platform, log, spill, records);
  }

  /** Goes on with what an earlier process has not delivered. */
  takeOver(kept: ReadonlyMap<string, Uint8Array>): void {
    this.#queue.takeOver(kept);
    void this.#send();
  }

  /** Topics of the events that have not been acknowledged, in order. */
  get waiting(): string[] {
    return this.#queue.topics();
  }

  publish<T>({ topic, typeUrl, codec, key, lasting = false }: Topic<T>, event: T): void {
    this.#log.debug("event", { topic });
    if (this.#address === "") return;
    const timestamp = timestampFromNs(this.#clock.realtimeNs());
    const envelope = { timestamp, namespace: this.#namespace, topic, event: pack(typeUrl, codec, event) };
    const bytes = ForwardRequest.encode({ envelope }).finish();
    if (bytes.length > MAX_DATA_BYTES - REQUEST_OVERHEAD) {
      this.#log.error("event is too large for any daemon", { topic, bytes: bytes.length });
      return;
    }
    failpoint(`publish${topic}`);
    this.#queue.push({ topic, key: key?.(event) ?? "", lasting, bytes, unanswered: 0, refusals: 0 });
    void this.#send();
  }

  /** Resolves when no event waits any more: at once if there is none. */
  flushed(): Promise<void> {
    return new Promise((resolve) => {
      this.#flushed.push(resolve);
      this.#checkFlushed();
    });
  }

  /** Time is short from here on: a daemon that comes back is looked for all the time. */
  hurry(): void {
    this.#longestPause = RETRY_FIRST;
    this.tryNow();
  }

  /** Ends a pause: something says that the daemon may be there again. */
  tryNow(): void {
    this.#pause = RETRY_FIRST;
    if (this.#retry === undefined) return;
    this.#retry.cancel();
    this.#retry = undefined;
    void this.#send();
  }

  async #send(): Promise<void> {
    if (this.#sending || this.#retry !== undefined) return;
    this.#sending = true;
    try {
      for (let event = this.#queue.at(0); event !== undefined; event = this.#queue.at(0)) {
        if (!(await this.#deliver(event))) return this.#retryLater();
        this.#pause = RETRY_FIRST;
      }
      this.#checkFlushed();
    } finally {
      this.#sending = false;
    }
  }

  /** Whether to go on with the queue at once. */
  async #deliver(event: PendingEvent): Promise<boolean> {
    const outcome = await this.#forward(event);
    if (outcome === "acknowledged") return true;
    if (outcome === "refused") {
      if (this.#countRefusal(event)) return true;
      this.#pause = REFUSAL_PAUSE;
      return false;
    }
    if (outcome === "away" || event.unanswered < UNANSWERED_BEFORE_PROBE) return false;
    // Is it the daemon that does not answer, or is it this event that it cannot answer? The next one tells.
    const next = this.#queue.at(1);
    if (next === undefined) return false;
    const answer = await this.#forward(next);
    if (answer === "refused") this.#countRefusal(next);
    if (answer === "unanswered" || answer === "away") return false;
    this.#countRefusal(event);
    return true;
  }

  /** Whether the event is given up with this. */
  #countRefusal(event: PendingEvent): boolean {
    if (++event.refusals < MAX_REFUSALS) return false;
    this.#log.error("event given up: the daemon takes others, but not this one", { topic: event.topic });
    this.#queue.remove(event);
    return true;
  }

  async #forward(event: PendingEvent): Promise<Outcome> {
    let client: TtrpcClient;
    try {
      client = await this.#connected();
    } catch (error) {
      if (this.#pause === RETRY_FIRST) this.#log.debug("daemon is away", { error: errorText(error) });
      return "away";
    }
    try {
      failpoint(`Forward${event.topic}:request`);
      await client.call(EventsDefinition.fullName, forward, event.bytes, {
        timeoutMs:
          event.unanswered < UNANSWERED_BEFORE_PROBE || event.refusals > 0
            ? FORWARD_TIMEOUT
            : FORWARD_TIMEOUT_LATER,
        metadata: new Map([["containerd-namespace-ttrpc", [this.#namespace]]]),
      });
      failpoint(`Forward${event.topic}:response`);
      this.#queue.remove(event);
      return "acknowledged";
    } catch (error) {
      return this.#failed(event, client, TtrpcError.from(error));
    }
  }

  #failed(event: PendingEvent, client: TtrpcClient, error: TtrpcError): Outcome {
    const { topic } = event;
    if (NO_ANSWER.includes(error.code)) {
      event.unanswered++;
      this.#log.debug("event was not acknowledged, will be sent again", { topic, error: error.message });
      // What is written on it already must not come twice, and what is stuck in it must not hold up the others.
      client.close();
      return "unanswered";
    }
    this.#log.error("event refused", { topic, error: error.message });
    if (!HOPELESS.includes(error.code)) return "refused";
    this.#queue.remove(event);
    return "acknowledged";
  }

  async #connected(): Promise<TtrpcClient> {
    if (this.#client !== undefined && !this.#client.closed) return this.#client;
    this.#client = new TtrpcClient(await this.#net.connect(this.#address), this.#clock);
    return this.#client;
  }

  #retryLater(): void {
    this.#retry = this.#clock.after(this.#pause, () => {
      this.#retry = undefined;
      void this.#send();
    });
    this.#pause = Math.min(this.#pause * 2, this.#longestPause);
  }

  #checkFlushed(): void {
    if (this.#queue.size > 0) return;
    for (const resolve of this.#flushed.splice(0)) resolve();
  }
}
