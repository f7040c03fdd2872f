// Files of random bytes and the hashes of their beginnings and ends, to show that no byte of a stream is lost, added or moved.
import { createHash, randomFillSync } from "node:crypto";
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import type { Readable } from "node:stream";

const CHUNK = 1 << 20;

/** Writes `size` random bytes to a file. */
export function writeNoise(path: string, size: number): void {
  const file = openSync(path, "w");
  const chunk = new Uint8Array(CHUNK);
  for (let at = 0; at < size; at += CHUNK) {
    writeSync(file, randomFillSync(chunk), 0, Math.min(CHUNK, size - at));
  }
  closeSync(file);
}

/** The SHA-256 of the bytes of a file from `start` up to `end`, in hex. */
export function hashOfRange(path: string, start: number, end: number): string {
  const file = openSync(path, "r");
  const hash = createHash("sha256");
  const chunk = new Uint8Array(CHUNK);
  for (let at = start; at < end; ) {
    const count = readSync(file, chunk, 0, Math.min(CHUNK, end - at), at);
    hash.update(chunk.subarray(0, count));
    at += count;
  }
  closeSync(file);
  return hash.digest("hex");
}

/** Hashes what a stream brings while it flows. */
export class StreamHash {
  /** Resolves when `size` bytes have come. */
  readonly arrived: Promise<void>;
  readonly #hash = createHash("sha256");
  #surplus = Buffer.alloc(0);

  constructor(stream: Readable, size: number) {
    let count = 0;
    this.arrived = new Promise((done) => {
      if (size === 0) done();
      stream.on("data", (chunk: Uint8Array) => {
        this.#hash.update(chunk);
        const missing = Math.max(size - count, 0);
        this.#surplus = Buffer.concat([this.#surplus, chunk.subarray(missing)]);
        count += chunk.length;
        if (count >= size) done();
      });
    });
  }

  /** What came beyond `size`: the words of a client that has failed. */
  get surplus(): string {
    return this.#surplus.toString();
  }

  /** The SHA-256, in hex, of all that has come. Called once. */
  digest(): string {
    return this.#hash.digest("hex");
  }
}
