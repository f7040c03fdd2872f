// Writes on their way to become blobs: ingest/<hash of namespace and ref>/{data,about}. One writer holds an ingest at a time; what it has written stays
// for the next, also across daemons, until it is committed or aborted (containerd's content/local).
import { createHash, type Hash } from "node:crypto";
import {
  chmodSync,
  createReadStream,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import type { Blobs } from "./blobs.ts";

const MAX_REF_BYTES = 4096;

/** What is known of an ingest beside its bytes. */
export interface IngestAbout {
  readonly namespace: string;
  readonly ref: string;
  readonly startedAtMs: number;
  /** 0 if nobody has said. */
  readonly total: number;
  /** "" if nobody has said. */
  readonly expected: string;
  /** A commit has found that it is not what was expected. */
  readonly isRefused?: boolean;
  /** It goes with the leases that it is on, and not by its age. */
  readonly isLeased?: boolean;
}

export interface IngestStatus extends IngestAbout {
  readonly offset: number;
  readonly updatedAtMs: number;
}

export class Ingests {
  readonly #directory: string;
  readonly #blobs: Blobs;
  readonly #held = new Set<string>();

  constructor(blobs: Blobs) {
    this.#directory = join(blobs.directory, "ingest");
    this.#blobs = blobs;
  }

  /** Every ingest of a namespace; of all if it is undefined. Those that make no sense are passed over, and go with a collection. */
  list(namespace?: string): IngestStatus[] {
    return this.#names()
      .map((name) => this.#status(join(this.#directory, name)))
      .filter((status) => status !== undefined && (namespace === undefined || status.namespace === namespace))
      .filter((status) => status !== undefined);
  }

  /** Throws NOT_FOUND. */
  status(namespace: string, ref: string): IngestStatus {
    const status = this.#status(this.#path(namespace, ref));
    if (status === undefined) throw new TtrpcError(Code.NOT_FOUND, `reference ${ref}: not found`);
    return status;
  }

  /** Throws NOT_FOUND, and UNAVAILABLE while somebody writes. */
  abort(namespace: string, ref: string): void {
    this.status(namespace, ref);
    const path = this.#path(namespace, ref);
    if (this.#held.has(path)) throw locked(ref);
    rmSync(path, { recursive: true, force: true });
  }

  /** Removes what nobody writes and `isKept` does not want. Returns how many went. */
  sweep(isKept: (status: IngestStatus) => boolean): number {
    let removed = 0;
    for (const name of this.#names()) {
      const path = join(this.#directory, name);
      if (this.#held.has(path)) continue;
      const status = this.#status(path);
      if (status !== undefined && isKept(status)) continue;
      rmSync(path, { recursive: true, force: true });
      removed++;
    }
    return removed;
  }

  /** Begins a write, or goes on with one. Rejects with UNAVAILABLE while somebody else does. */
  async open(about: Omit<IngestAbout, "startedAtMs" | "isRefused">): Promise<Writer> {
    const { namespace, ref } = about;
    if (ref === "" || Buffer.byteLength(ref) > MAX_REF_BYTES) {
      throw new TtrpcError(
        Code.INVALID_ARGUMENT,
        `ref ${JSON.stringify(ref.slice(0, 80))}: empty or too long: invalid argument`,
      );
    }
    const path = this.#path(namespace, ref);
    if (this.#held.has(path)) throw locked(ref);
    this.#held.add(path);
    try {
      const found = this.#status(path);
      // What has been found to be wrong is of no use to who knows what is right.
      const known = found?.isRefused === true && about.expected !== "" ? undefined : found;
      if (known === undefined) {
        rmSync(path, { recursive: true, force: true });
        mkdirSync(path, { recursive: true, mode: 0o700 });
      }
      const now: IngestAbout = {
        namespace,
        ref,
        startedAtMs: known?.startedAtMs ?? Date.now(),
        total: about.total || (known?.total ?? 0),
        expected: about.expected || (known?.expected ?? ""),
        isLeased: about.isLeased ?? false,
      };
      writeFileSync(join(path, "data"), "", { flag: "a", mode: 0o600 });
      writeAbout(path, now);
      return await Writer.open(this.#blobs, path, now, () => this.#held.delete(path));
    } catch (error) {
      this.#held.delete(path);
      throw error;
    }
  }

  #path(namespace: string, ref: string): string {
    return join(this.#directory, createHash("sha256").update(`${namespace}\0${ref}`).digest("hex"));
  }

  #names(): string[] {
    try {
      return readdirSync(this.#directory);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw error;
    }
  }

  #status(path: string): IngestStatus | undefined {
    const data = statSync(join(path, "data"), { throwIfNoEntry: false });
    if (data === undefined) return undefined;
    try {
      const about = JSON.parse(readFileSync(join(path, "about"), "utf8")) as IngestAbout;
      if (typeof about.namespace !== "string" || typeof about.ref !== "string") return undefined;
      return { ...about, offset: data.size, updatedAtMs: data.mtimeMs };
    } catch {
      return undefined;
    }
  }
}

function writeAbout(path: string, about: IngestAbout): void {
  writeFileSync(join(path, "about.new"), JSON.stringify(about), { mode: 0o600 });
  renameSync(join(path, "about.new"), join(path, "about"));
}

function locked(ref: string): TtrpcError {
  return new TtrpcError(Code.UNAVAILABLE, `ref ${ref} locked: unavailable`);
}

/** One write. Ends by commit() or close(). */
export class Writer {
  readonly #blobs: Blobs;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #release: () => void;
  readonly about: IngestAbout;
  #hash: Hash = createHash("sha256");
  #offset = 0;
  #closed = false;

  private constructor(blobs: Blobs, path: string, about: IngestAbout, file: FileHandle, release: () => void) {
    this.#blobs = blobs;
    this.#path = path;
    this.about = about;
    this.#file = file;
    this.#release = release;
  }

  /** Reads what is there already, to know its digest. */
  static async open(blobs: Blobs, path: string, about: IngestAbout, release: () => void): Promise<Writer> {
    const file = await open(join(path, "data"), "r+");
    const writer = new Writer(blobs, path, about, file, release);
    try {
      for await (const chunk of createReadStream(join(path, "data"))) {
        writer.#hash.update(chunk as Buffer);
        writer.#offset += (chunk as Buffer).length;
      }
      return writer;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get offset(): number {
    return this.#offset;
  }

  /** Of the bytes so far. */
  get digest(): string {
    return `sha256:${this.#hash.copy().digest("hex")}`;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await this.#file.write(bytes, done, bytes.length - done, this.#offset);
      this.#hash.update(bytes.subarray(done, done + bytesWritten));
      this.#offset += bytesWritten;
      done += bytesWritten;
    }
  }

  /** Begins anew. */
  async restart(): Promise<void> {
    await this.#file.truncate(0);
    this.#offset = 0;
    this.#hash = createHash("sha256");
  }

  /**
   * Makes it a blob and returns its digest. Rejects with FAILED_PRECONDITION if size or digest are not those that are expected: what was written
   * stays for who says something else of it, as with containerd. A blob that is there already is left, and `isNew` is false.
   */
  async commit(size: number, expected: string): Promise<{ digest: string; isNew: boolean }> {
    const digest = this.digest;
    const mismatch =
      size > 0 && size !== this.#offset
        ? `${JSON.stringify(this.about.ref)} failed size validation: ${this.#offset} != ${size}`
        : expected !== "" && expected !== digest
          ? `unexpected commit digest ${digest}, expected ${expected}`
          : undefined;
    if (mismatch !== undefined) {
      writeAbout(this.#path, { ...this.about, isRefused: true });
      await this.close();
      throw new TtrpcError(Code.FAILED_PRECONDITION, `${mismatch}: failed precondition`);
    }
    await this.#file.sync();
    const isNew = this.#blobs.stat(digest) === undefined;
    if (isNew) {
      const data = join(this.#path, "data");
      chmodSync(data, 0o444);
      this.#blobs.prepare();
      renameSync(data, this.#blobs.path(digest));
      await this.#blobs.sync();
    }
    await this.discard();
    return { digest, isNew };
  }

  /** Ends it, and leaves nothing of it. Nothing happens once it is closed. */
  async discard(): Promise<void> {
    await this.#end(() => rmSync(this.#path, { recursive: true, force: true }));
  }

  /** Lets go of the ingest; what was written stays. Closing twice does nothing. */
  async close(): Promise<void> {
    await this.#end(() => {});
  }

  /** Nobody else has the ingest before `last` is done: what it removes would be the next one's. */
  async #end(last: () => void): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      await this.#file.close();
      last();
    } finally {
      this.#release();
    }
  }
}
