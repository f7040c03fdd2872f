// The frames of ttrpc: what a header holds, how one is written, and how a byte stream is cut into frames. Called by channel.ts and by whoever
// builds a message. PROTOCOL.md, "Frame".

import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { Code, TtrpcError } from "./status.ts";

/** Bytes of a frame before its data. */
export const HEADER_BYTES = 10;
/** Most bytes of data in one frame. */
export const MAX_DATA_BYTES: number = 4 * 1024 * 1024;

export const FrameType = { REQUEST: 1, RESPONSE: 2, DATA: 3 } as const;
export type FrameType = (typeof FrameType)[keyof typeof FrameType];

/** Bits of a frame's flags: the sender sends no more, the sender will send more, the frame carries no message. */
export const Flag = { REMOTE_CLOSED: 1, REMOTE_OPEN: 2, NO_DATA: 4 } as const;

export interface Frame {
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
  /** Bytes of data that the header announced. */
  readonly length: number;
  /** The data, often a view of a received chunk; undefined if it is longer than MAX_DATA_BYTES, and then it is skipped. */
  readonly data: Uint8Array | undefined;
}

/** A writer that stands behind the room for a header: write the data into it, then call sealFrame. */
export function newFrame(): BinaryWriter {
  return new BinaryWriter().raw(new Uint8Array(HEADER_BYTES));
}

/** Returns the frame's bytes. Throws RESOURCE_EXHAUSTED if the data is longer than a frame may be. */
export function sealFrame(frame: BinaryWriter, streamId: number, type: FrameType, flags: number): Uint8Array {
  const bytes = frame.finish();
  const length = bytes.length - HEADER_BYTES;
  if (length > MAX_DATA_BYTES) throw tooLarge(length);
  const header = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  header.setUint32(0, length);
  header.setUint32(4, streamId);
  header.setUint8(8, type);
  header.setUint8(9, flags);
  return bytes;
}

export function tooLarge(length: number): TtrpcError {
  return new TtrpcError(
    Code.RESOURCE_EXHAUSTED,
    `message of ${length} bytes is over the limit of ${MAX_DATA_BYTES}`,
  );
}

/** Longest frame that is looked at whole in what the kernel holds, header included. */
export const MAX_WHOLE_BYTES: number = 64 * 1024;

/** The frame whose header stands at `start`: its size with its header, and the frame itself if it is there whole. undefined before its header is. */
export function frameAt(
  bytes: Uint8Array,
  start: number,
): { size: number; frame: Frame | undefined } | undefined {
  if (bytes.length < start + HEADER_BYTES) return undefined;
  const header = new DataView(bytes.buffer, bytes.byteOffset + start, HEADER_BYTES);
  const length = header.getUint32(0);
  const size = HEADER_BYTES + length;
  const from = start + HEADER_BYTES;
  if (bytes.length < start + size) return { size, frame: undefined };
  const data = bytes.subarray(from, from + length);
  const streamId = header.getUint32(4);
  const type = header.getUint8(8);
  const flags = header.getUint8(9);
  return { size, frame: { streamId, type, flags, length, data } };
}

const EMPTY = new Uint8Array(0);

/**
 * Cuts chunks of any size into frames. A frame that lies in one chunk is not copied. For one that does not, memory grows with the bytes
 * that have come, not with the length that its header claims, and is let go with the frame.
 */
export class FrameDecoder {
  #chunk: Uint8Array = EMPTY;
  #position = 0;
  /** The start of a frame whose end has not come yet: header and data. */
  #partial: Uint8Array = EMPTY;
  #filled = 0;
  /** Bytes of an oversized frame still to be dropped. */
  #skip = 0;

  /** Whether no frame has begun. */
  get isBetweenFrames(): boolean {
    return this.#filled === 0 && this.#skip === 0 && this.#position >= this.#chunk.length;
  }

  /** How many of these bytes, which come next, are of the frame that has begun, or begins with them. */
  wanted(bytes: Uint8Array): number {
    let rest = this.#skip;
    if (rest === 0) {
      const header = this.#filled >= HEADER_BYTES ? this.#partial : bytes;
      rest = HEADER_BYTES + lengthAt(header, 0) - this.#filled;
    }
    return Math.min(rest, bytes.length);
  }

  /** Adds received bytes, which the decoder keeps until next() has returned undefined. */
  push(chunk: Uint8Array): void {
    const rest = this.#chunk.length - this.#position;
    if (rest > 0) {
      const joined = new Uint8Array(rest + chunk.length);
      joined.set(this.#chunk.subarray(this.#position));
      joined.set(chunk, rest);
      chunk = joined;
    }
    this.#chunk = chunk;
    this.#position = 0;
  }

  /** The next frame, or undefined if more bytes are needed. */
  next(): Frame | undefined {
    this.#dropSkipped();
    const available = this.#chunk.length - this.#position;
    if (available === 0) {
      this.#chunk = EMPTY;
      this.#position = 0;
      return undefined;
    }
    if (this.#filled > 0 || available < HEADER_BYTES) return this.#gather();
    const length = lengthAt(this.#chunk, this.#position);
    if (length <= MAX_DATA_BYTES && available < HEADER_BYTES + length) return this.#gather();
    const start = this.#position;
    this.#position += HEADER_BYTES;
    return this.#take(this.#chunk, start, length);
  }

  /** Puts a frame together that does not lie in one chunk. */
  #gather(): Frame | undefined {
    if (this.#filled < HEADER_BYTES && !this.#fill(HEADER_BYTES)) return this.next();
    const length = lengthAt(this.#partial, 0);
    if (length <= MAX_DATA_BYTES && !this.#fill(HEADER_BYTES + length)) return this.next();
    const whole = this.#partial;
    this.#partial = EMPTY;
    this.#filled = 0;
    return this.#take(whole, 0, length);
  }

  /** The frame whose header stands at `start`; `#position` is behind what was consumed, except for data that lies in the chunk. */
  #take(bytes: Uint8Array, start: number, length: number): Frame {
    const header = new DataView(bytes.buffer, bytes.byteOffset + start, HEADER_BYTES);
    const from = start + HEADER_BYTES;
    let data: Uint8Array | undefined;
    if (length > MAX_DATA_BYTES) this.#skip = length;
    else {
      data = bytes.subarray(from, from + length);
      if (bytes === this.#chunk) this.#position += length;
    }
    return {
      streamId: header.getUint32(4),
      type: header.getUint8(8),
      flags: header.getUint8(9),
      length,
      data,
    };
  }

  /** Moves bytes from the chunk until `target` bytes of the frame are held; false if the chunk ends before. */
  #fill(target: number): boolean {
    const count = Math.min(target - this.#filled, this.#chunk.length - this.#position);
    if (this.#filled + count > this.#partial.length) {
      const grown = new Uint8Array(
        Math.min(target, Math.max(this.#filled + count, 2 * this.#partial.length)),
      );
      grown.set(this.#partial.subarray(0, this.#filled));
      this.#partial = grown;
    }
    this.#partial.set(this.#chunk.subarray(this.#position, this.#position + count), this.#filled);
    this.#position += count;
    this.#filled += count;
    return this.#filled === target;
  }

  #dropSkipped(): void {
    const count = Math.min(this.#skip, this.#chunk.length - this.#position);
    this.#position += count;
    this.#skip -= count;
  }
}

function lengthAt(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset + at, 4).getUint32(0);
}
