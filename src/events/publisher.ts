// Sends the shim's events to its daemon, in order, each until it is acknowledged: a daemon that is away for an hour finds every exit
// when it is back (moby issue 41227). One connection, one event under way at a time. Made by src/shim/serve.ts.
import { pack } from "../api/any.ts";
import { type Envelope, EventsDefinition } from "../api/generated/forward.ts";
import { timestampFromNs } from "../api/timestamp.ts";
import { errorText, type Log } from "../log/log.ts";
import type { Clock, Net, Timer } from "../platform/platform.ts";
import { TtrpcClient } from "../ttrpc/client.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import type { EventSink, Topic } from "./topics.ts";

/** How long the daemon may take to acknowledge, in ms. */
const FORWARD_TIMEOUT = 5_000;
/** Pauses between attempts while the daemon is away, in ms. */
const RETRY_FIRST = 50;
const RETRY_MOST = 2_000;

/** Errors that the same event would meet for ever. Any other answer may be different next time. */
const HOPELESS: readonly number[] = [Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED];

export class Publisher implements EventSink {
  readonly #clock: Clock;
  readonly #net: Net;
  readonly #log: Log;
  readonly #namespace: string;
  /** The daemon's events socket; empty if nobody wants events. */
  readonly #address: string;
  readonly #queue: Envelope[] = [];
  #client: TtrpcClient | undefined;
  #sending = false;
  #retry: Timer | undefined;
  #pause = RETRY_FIRST;
  #flushed: (() => void)[] = [];

  constructor(platform: { clock: Clock; net: Net }, log: Log, namespace: string, address: string) {
    this.#clock = platform.clock;
    this.#net = platform.net;
    this.#log = log;
    this.#namespace = namespace;
    this.#address = address;
  }

  /** Topics of the events that have not been acknowledged, in order. */
  get waiting(): string[] {
    return this.#queue.map(({ topic }) => topic);
  }

  publish<T>({ topic, typeUrl, codec }: Topic<T>, event: T): void {
    this.#log.debug("event", { topic });
    if (this.#address === "") return;
    const timestamp = timestampFromNs(this.#clock.realtimeNs());
    this.#queue.push({ timestamp, namespace: this.#namespace, topic, event: pack(typeUrl, codec, event) });
    void this.#send();
  }

  /** Resolves when every event has been acknowledged: at once if there is none. */
  flushed(): Promise<void> {
    return new Promise((resolve) => {
      this.#flushed.push(resolve);
      this.#checkFlushed();
    });
  }

  async #send(): Promise<void> {
    if (this.#sending || this.#retry !== undefined) return;
    this.#sending = true;
    try {
      for (let event = this.#queue[0]; event !== undefined; event = this.#queue[0]) {
        await this.#forward(event);
        this.#queue.shift();
        this.#pause = RETRY_FIRST;
      }
      this.#checkFlushed();
    } catch (error) {
      this.#log.debug("event not taken, will be sent again", {
        error: errorText(error),
        waiting: this.#queue.length,
      });
      this.#retryLater();
    } finally {
      this.#sending = false;
    }
  }

  async #forward(envelope: Envelope): Promise<void> {
    try {
      const client = await this.#connected();
      await client.call(
        EventsDefinition.fullName,
        EventsDefinition.methods.forward,
        { envelope },
        {
          timeoutMs: FORWARD_TIMEOUT,
          metadata: new Map([["containerd-namespace-ttrpc", [this.#namespace]]]),
        },
      );
    } catch (error) {
      if (!(error instanceof TtrpcError && HOPELESS.includes(error.code))) throw error;
      this.#log.error("event refused", { topic: envelope.topic, error: error.message });
    }
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
    this.#pause = Math.min(this.#pause * 2, RETRY_MOST);
  }

  #checkFlushed(): void {
    if (this.#queue.length > 0) return;
    for (const resolve of this.#flushed.splice(0)) resolve();
  }
}
