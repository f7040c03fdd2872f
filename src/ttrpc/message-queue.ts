// The received messages of one stream, read as an async iterator. ttrpc has no flow control, so a reader that is slow holds up its connection, for a
// bounded time.

import type { Clock, Timer } from "../platform/platform.ts";
import { boundedReader } from "./bounded-reader.ts";
import type { MessageCodec } from "./codec.ts";
import { Code, TtrpcError } from "./status.ts";

/** Bytes that may wait for the reader before the connection is no longer read. */
const WINDOW_BYTES = 1024 * 1024;
/** What a waiting message costs beside its data. */
const OVERHEAD_BYTES = 128;
/** How long a reader may hold up its connection before its stream fails. */
const STALL_MS = 1000;

interface Link {
  readonly data: Uint8Array;
  next: Link | undefined;
}

interface Reader<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(error: TtrpcError): void;
}

/** What a queue needs of the connection and of the call. */
export interface QueueHost {
  readonly clock: Clock;
  hold(): void;
  release(): void;
  /** The reader gave the stream up: it returned early, was too slow, or met a malformed message. */
  abandoned(error: TtrpcError | undefined): void;
}

export class MessageQueue<T> implements AsyncIterableIterator<T, undefined> {
  readonly #codec: MessageCodec<T>;
  readonly #host: QueueHost;
  #first: Link | undefined;
  #last: Link | undefined;
  #bytes = 0;
  #ended = false;
  #error: TtrpcError | undefined;
  #readers: Reader<T>[] = [];
  #stall: Timer | undefined;

  constructor(codec: MessageCodec<T>, host: QueueHost) {
    this.#codec = codec;
    this.#host = host;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Adds an encoded message. Ignored after the end. */
  push(data: Uint8Array): void {
    if (this.#ended) return;
    const link: Link = { data, next: undefined };
    if (this.#last) this.#last.next = link;
    else this.#first = link;
    this.#last = link;
    this.#bytes += data.length + OVERHEAD_BYTES;
    this.#serve();
    if (this.#bytes > WINDOW_BYTES && !this.#stall) {
      this.#stall = this.#host.clock.after(STALL_MS, () => this.#overflow());
      this.#host.hold();
    }
  }

  /** No more will come: readers get what is there, then the end or the error. */
  end(error?: TtrpcError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#serve();
  }

  /** Drops what is there. Readers get the error, also where the stream had ended behind what was dropped; without an error, the end. */
  drop(error?: TtrpcError): void {
    this.#first = undefined;
    this.#last = undefined;
    this.#bytes = 0;
    this.#ended = true;
    this.#error = error;
    this.#unstall();
    this.#serve();
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return new Promise((resolve, reject) => {
      this.#readers.push({ resolve, reject });
      this.#serve();
    });
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#abandon(undefined);
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #serve(): void {
    while (this.#readers.length > 0 && (this.#first || this.#ended)) {
      const reader = this.#readers.shift() as Reader<T>;
      if (this.#first) this.#deliver(this.#first, reader);
      else if (this.#error) {
        reader.reject(this.#error);
        // An iterator fails once, then it is at its end.
        this.#error = undefined;
      } else reader.resolve({ done: true, value: undefined });
    }
  }

  #deliver(link: Link, reader: Reader<T>): void {
    this.#first = link.next;
    if (!link.next) this.#last = undefined;
    this.#bytes -= link.data.length + OVERHEAD_BYTES;
    if (this.#bytes <= WINDOW_BYTES) this.#unstall();
    try {
      reader.resolve({ done: false, value: this.#codec.decode(boundedReader(link.data)) });
    } catch (error) {
      const malformed = TtrpcError.from(error, Code.INTERNAL);
      reader.reject(malformed);
      this.#abandon(malformed);
    }
  }

  #overflow(): void {
    const error = new TtrpcError(
      Code.RESOURCE_EXHAUSTED,
      `stream is full and was not read for ${STALL_MS} ms`,
    );
    this.#abandon(error);
  }

  #abandon(error: TtrpcError | undefined): void {
    if (this.#ended && !this.#first) return;
    this.drop(error);
    this.#host.abandoned(error);
  }

  #unstall(): void {
    if (!this.#stall) return;
    this.#stall.cancel();
    this.#stall = undefined;
    this.#host.release();
  }
}
