// Content on disk, as an OCI layout has it (image-layout.md): blobs/sha256/<hex>, each complete and checked; what is still being written is in ingests.ts.
// Other tools can read it. Which namespace has which blob is on record elsewhere (src/manager/records/store.ts).
import { mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { hexOf } from "./digest.ts";

/** As containerd cuts what it sends. */
const CHUNK_BYTES = 1024 * 1024;

export interface BlobStat {
  readonly size: number;
  readonly createdAtMs: number;
}

export class Blobs {
  readonly directory: string;
  readonly #blobs: string;

  /** `directory` is made when it is first written to. */
  constructor(directory: string) {
    this.directory = directory;
    this.#blobs = join(directory, "blobs", "sha256");
  }

  /** Throws INVALID_ARGUMENT. */
  path(digest: string): string {
    return join(this.#blobs, hexOf(digest));
  }

  stat(digest: string): BlobStat | undefined {
    const found = statSync(this.path(digest), { throwIfNoEntry: false });
    return found && { size: found.size, createdAtMs: found.mtimeMs };
  }

  /** Makes the directory, so that a blob can be renamed into it. */
  prepare(): void {
    mkdirSync(this.#blobs, { recursive: true, mode: 0o755 });
  }

  /** Makes a rename into the directory outlive the machine. */
  async sync(): Promise<void> {
    const directory = await open(this.#blobs, "r");
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }

  /** The bytes from `start` to before `end`, in pieces. Throws NOT_FOUND; what is removed while it is read is read to its end. */
  async *read(digest: string, start: number, end: number): AsyncGenerator<{ at: number; bytes: Uint8Array }> {
    const file = await this.#open(digest);
    try {
      for (let at = start; at < end; ) {
        const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - at));
        const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
        if (bytesRead === 0) throw new Error(`${digest}: it ends at ${at} of ${end} bytes`);
        yield { at, bytes: buffer.subarray(0, bytesRead) };
        at += bytesRead;
      }
    } finally {
      await file.close();
    }
  }

  async #open(digest: string): Promise<FileHandle> {
    try {
      return await open(this.path(digest), "r");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      throw new TtrpcError(Code.NOT_FOUND, `content digest ${digest}: not found`, { cause: error });
    }
  }

  /** Nothing happens if there is none. */
  remove(digest: string): void {
    rmSync(this.path(digest), { force: true });
  }

  /** Every blob that is there; what has another name is none of ours. */
  list(): string[] {
    try {
      return readdirSync(this.#blobs)
        .filter((name) => /^[0-9a-f]{64}$/.test(name))
        .map((hex) => `sha256:${hex}`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw error;
    }
  }
}
