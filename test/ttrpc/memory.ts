// A byte stream whose other end the test plays by hand, and a clock that the test moves. No kernel, no time: every step is seen.

import type { ByteStream, Clock, StreamHandler, Timer } from "../../src/platform/platform.ts";
import { type Frame, FrameDecoder } from "../../src/ttrpc/frame.ts";

export class MemoryStream implements ByteStream {
  readonly peer = { pid: 1, uid: 0, gid: 0 };
  queued = 0;
  paused = false;
  closed = false;
  /** While set, what is written is queued, as if the peer did not read. */
  stuck = false;
  readonly #decoder = new FrameDecoder();
  readonly #frames: Frame[] = [];
  #handler: StreamHandler | undefined;
  #wake: (() => void) | undefined;

  start(handler: StreamHandler): void {
    this.#handler = handler;
  }

  write(bytes: Uint8Array): void {
    if (this.closed) return;
    if (this.stuck) this.queued += bytes.length;
    this.#decoder.push(bytes);
    for (let frame = this.#decoder.next(); frame; frame = this.#decoder.next()) this.#frames.push(frame);
    this.#wake?.();
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  close(): void {
    this.end();
  }

  /** The peer's end: what it sends. */
  receive(chunk: Uint8Array): void {
    this.#handler?.data(chunk);
  }

  /** The peer reads all that was queued. */
  drain(): void {
    this.stuck = false;
    this.queued = 0;
    this.#handler?.drained();
  }

  /** The connection ends. */
  end(error?: Error): void {
    if (this.closed) return;
    this.closed = true;
    this.#handler?.closed(error);
    this.#wake?.();
  }

  /** Frames written so far and not yet taken. */
  get pending(): number {
    return this.#frames.length;
  }

  /** The next frame that is written. Rejects if the stream closes before. */
  async frame(): Promise<Frame> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame) return frame;
      if (this.closed) throw new Error("stream closed");
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

export class ManualClock implements Clock {
  #now = 1000;
  readonly #timers = new Set<{ at: number; fire: () => void }>();

  monotonicMs(): number {
    return this.#now;
  }

  realtimeNs(): bigint {
    return BigInt(this.#now) * 1_000_000n;
  }

  after(ms: number, fire: () => void): Timer {
    const timer = { at: this.#now + ms, fire };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  get armed(): number {
    return this.#timers.size;
  }

  advance(ms: number): void {
    this.#now += ms;
    for (const timer of [...this.#timers]) {
      if (timer.at > this.#now) continue;
      this.#timers.delete(timer);
      timer.fire();
    }
  }
}

/** Lets everything run that waits only for promises. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Bytes from hex, in which spaces count for nothing. */
export function hex(digits: string): Uint8Array {
  return Uint8Array.from(Buffer.from(digits.replaceAll(/\s+/g, ""), "hex"));
}

/** A frame written independently of src/ttrpc/frame.ts. */
export function rawFrame(streamId: number, type: number, flags: number, data: Uint8Array): Uint8Array {
  const header = Buffer.alloc(10);
  header.writeUInt32BE(data.length, 0);
  header.writeUInt32BE(streamId, 4);
  header[8] = type;
  header[9] = flags;
  return Uint8Array.from(Buffer.concat([header, data]));
}
