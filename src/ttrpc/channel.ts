// Frames over a byte stream, with back-pressure both ways. One per connection, owned by a server's connection or by a client.

import type { ByteStream } from "../platform/platform.ts";
import { type Frame, FrameDecoder, frameAt, MAX_WHOLE_BYTES } from "./frame.ts";

/** Bytes that may wait for a peer to read them before its requests are no longer read, and senders of a stream have to wait. */
export const WRITE_LIMIT_BYTES: number = 256 * 1024;

export interface ChannelOwner {
  frame(frame: Frame): void;
  /** Everything written has been handed to the kernel. */
  drained?(): void;
  /**
   * With it, bytes stay in the kernel until their whole frame is there and frame() has been called for it. Called before a frame is taken in pieces
   * that is too long for that, and when it has been handed out.
   */
  inPieces?(begin: boolean): void;
  /** The connection is over. Called once; no frame follows. */
  closed(error: Error | undefined): void;
}

export class Channel {
  readonly #stream: ByteStream;
  readonly #owner: ChannelOwner;
  readonly #stopWhenFull: boolean;
  readonly #decoder = new FrameDecoder();
  #open = true;
  #pumping = false;
  #paused = false;
  #full = false;
  #holds = 0;
  /** Whether a frame is being taken that is too long to be looked at whole. */
  #inPieces = false;
  #writers: (() => void)[] = [];

  /**
   * Starts the stream. With `stopWhenFull`, nothing is read while too much waits to be written. Only a server does so:
   * if both ends did, each could wait for the other.
   */
  constructor(stream: ByteStream, owner: ChannelOwner, stopWhenFull: boolean) {
    this.#stream = stream;
    this.#owner = owner;
    this.#stopWhenFull = stopWhenFull;
    stream.start({
      data: (chunk) => {
        if (!this.#open) return;
        this.#decoder.push(chunk);
        this.#pump();
      },
      ...(owner.inPieces && { take: (bytes: Uint8Array) => this.#take(bytes) }),
      drained: () => this.#drained(),
      closed: (error) => this.#closed(error),
    });
  }

  get stream(): ByteStream {
    return this.#stream;
  }

  /** Sends one frame, whose bytes the channel owns from here on. Ignored once closed. */
  write(frame: Uint8Array): void {
    if (!this.#open) return;
    this.#stream.write(frame);
    if (!this.#full && this.#stream.queued > WRITE_LIMIT_BYTES) {
      this.#full = true;
      this.#pump();
    }
  }

  /** Undefined if there is room now; else resolves when there is, or when the connection is over. */
  whenWritable(): Promise<void> | undefined {
    if (!this.#full || !this.#open) return undefined;
    return new Promise((resolve) => {
      this.#writers.push(resolve);
    });
  }

  /** Stops reading until as many release() calls have come. */
  hold(): void {
    this.#holds++;
    this.#pump();
  }

  release(): void {
    this.#holds--;
    this.#pump();
  }

  close(): void {
    this.#stream.close();
    this.#closed(undefined);
  }

  #blocked(): boolean {
    return this.#holds > 0 || (this.#full && this.#stopWhenFull);
  }

  /** Hands out the whole frames at the front of what the kernel holds. Returns how many bytes they are. */
  #take(bytes: Uint8Array): number {
    if (this.#inPieces) return this.#takePiece(bytes);
    let taken = 0;
    while (this.#open && !this.#blocked()) {
      const next = frameAt(bytes, taken);
      if (next === undefined) break;
      if (next.size > MAX_WHOLE_BYTES) {
        if (taken > 0) break;
        this.#inPieces = true;
        this.#owner.inPieces?.(true);
        return this.#takePiece(bytes);
      }
      if (next.frame === undefined) break;
      taken += next.size;
      this.#owner.frame(next.frame);
    }
    this.#match();
    return taken;
  }

  #takePiece(bytes: Uint8Array): number {
    const piece = bytes.subarray(0, this.#decoder.wanted(bytes));
    this.#decoder.push(piece.slice());
    for (let frame = this.#decoder.next(); frame; frame = this.#decoder.next()) this.#owner.frame(frame);
    if (this.#decoder.isBetweenFrames) {
      this.#inPieces = false;
      this.#owner.inPieces?.(false);
    }
    return piece.length;
  }

  /** Hands out the frames that are there until reading has to stop. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (this.#open && !this.#blocked()) {
        const frame = this.#decoder.next();
        if (!frame) break;
        this.#owner.frame(frame);
      }
    } finally {
      this.#pumping = false;
    }
    this.#match();
  }

  /** Stops or resumes the stream as has to be. */
  #match(): void {
    const blocked = this.#blocked();
    if (!this.#open || blocked === this.#paused) return;
    this.#paused = blocked;
    if (blocked) this.#stream.pause();
    else this.#stream.resume();
  }

  #drained(): void {
    if (!this.#open) return;
    if (this.#full) {
      this.#full = false;
      this.#wakeWriters();
      this.#pump();
    }
    this.#owner.drained?.();
  }

  #closed(error: Error | undefined): void {
    if (!this.#open) return;
    this.#open = false;
    this.#wakeWriters();
    this.#owner.closed(error);
  }

  #wakeWriters(): void {
    const writers = this.#writers;
    this.#writers = [];
    for (const wake of writers) wake();
  }
}
