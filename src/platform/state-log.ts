// What a successor of this process needs to know (docs/state.md): records by key in a file, appended to before anything of them can be seen from outside,
// written anew when it has grown. The file is in memory, and the keeper holds it; where a shim may be adopted it has a name. resume.ts and adopt.ts read it.
import type { Platform } from "./platform.ts";

/** What a record holds: text, or bytes. */
export type Content = string | Uint8Array;

/** Where the parts of the shim keep what must outlive it. */
export interface Records {
  /** From now on there is such a record. `produce` gives its content whenever it is written. */
  put(key: string, produce: () => Content): void;
  /** To be called after every change of what `produce` tells, before anybody else can know of it. */
  changed(key: string): void;
  remove(key: string): void;
  /** Writes what has changed now: for what nobody sees at once, and a death from here on must find. */
  flush(): void;
}

/** For what does not outlive its process. */
export const noRecords: Records = { put() {}, changed() {}, remove() {}, flush() {} };

export const VERSION = 1;
const MAGIC = `HFSTATE${VERSION}`;
/** Most that is read, in bytes: more than all that a shim lets itself be given to keep (src/task/execs.ts). */
const MAX_STATE = 256 << 20;
/** Characters of a key, each of up to three bytes, whose count has 16 bits: what is named longer, by an exec's id, is not kept. */
const MAX_KEY = 0xffff / 3;
/** Of a batch: its length and its checksum. Of an entry: the lengths of its key and its content. */
const BATCH_HEADER = 8;
const ENTRY_HEADER = 6;
const REMOVED = 0xffffffff;
/** The file is written anew when it has become so much longer than what lives in it, in times and at most in bytes, and than this. */
const GROWTH = 4;
const MOST_GROWTH = 32 << 20;
const LEAST_LIMIT = 16 << 10;

type Host = Pick<Platform, "text" | "fds" | "files" | "clock" | "recordBatch">;

export class StateLog implements Records {
  readonly #platform: Host;
  readonly #live = new Map<string, () => Content>();
  /** What has changed since the last flush. */
  readonly #dirty = new Set<string>();
  #isFlushDue = false;
  #fd = -1;
  #path = "";
  #size = 0;
  #limit = 0;
  /** Closing a file of its own is no reason to begin anew. */
  #isWriting = false;

  constructor(platform: Host) {
    this.#platform = platform;
  }

  /** Begins with what an earlier process has left, until it is put anew or removed. */
  seed(kept: ReadonlyMap<string, Uint8Array>): void {
    for (const [key, content] of kept) this.#live.set(key, () => content);
  }

  put(key: string, produce: () => Content): void {
    if (key.length > MAX_KEY) return;
    this.#live.set(key, produce);
    this.changed(key);
  }

  changed(key: string): void {
    if (this.#fd < 0 || key.length > MAX_KEY) return;
    this.#dirty.add(key);
    if (this.#isFlushDue) return;
    // What nobody waits for is written when this turn of the loop is over.
    this.#isFlushDue = true;
    this.#platform.clock.after(0, () => {
      this.#isFlushDue = false;
      this.flush();
    });
  }

  remove(key: string): void {
    if (this.#live.delete(key)) this.changed(key);
  }

  /** Begins to write to the file: all that is there, then every change. With a path, the file has that name as long as it can have one. */
  open(fd: number, path = ""): void {
    this.#fd = fd;
    this.#path = path;
    this.#writeAnew();
  }

  /** From now on the descriptor is that of the file: for one that had no keeper to write for. */
  moveTo(fd: number): void {
    const former = this.#fd;
    if (former === fd) return;
    this.open(fd, this.#path);
    if (former >= 0) this.#platform.fds.close(former);
  }

  /** Writes what has changed. To be called before anything leaves this process. */
  flush(): void {
    if (this.#dirty.size === 0 || this.#fd < 0 || this.#isWriting) return;
    const batch = this.#batch(this.#dirty);
    if (this.#size + batch.length > this.#limit && this.#isWrittenAnew()) return;
    // There is no descriptor for another file: this one goes on, if what is in it has an end.
    if (this.#size === Number.POSITIVE_INFINITY) return;
    // What is cut short ends the file for whoever reads it.
    if (this.#write(this.#fd, batch)) {
      this.#size += batch.length;
      this.#dirty.clear();
      return;
    }
    this.#size = Number.POSITIVE_INFINITY;
    this.#isWrittenAnew();
  }

  /** False if there is no descriptor for a new file: then nothing has changed. */
  #isWrittenAnew(): boolean {
    try {
      this.#writeAnew();
      return true;
    } catch {
      return false;
    }
  }

  /** A whole new file takes the place of the old one in one step. Throws if it cannot be opened. */
  #writeAnew(): void {
    const { fds } = this.#platform;
    const batch = this.#batch(this.#live.keys());
    this.#isWriting = true;
    let fresh: number | undefined;
    try {
      fresh = this.#writeNamed(batch) ?? this.#writeUnnamed(batch);
    } finally {
      this.#isWriting = false;
    }
    this.#dirty.clear();
    if (fresh !== undefined) {
      fds.duplicateTo(fresh, this.#fd);
      fds.close(fresh);
    }
    // Until there is room again everything is written anew.
    this.#size = fresh !== undefined ? batch.length : Number.POSITIVE_INFINITY;
    const { length } = batch;
    this.#limit = Math.max(LEAST_LIMIT, Math.min(GROWTH * length, length + MOST_GROWTH));
  }

  /** undefined if there is no name for it, or no room, or no such directory any more. */
  #writeNamed(batch: Uint8Array): number | undefined {
    if (this.#path === "") return undefined;
    const { fds, files } = this.#platform;
    const next = `${this.#path}.new`;
    let fresh: number | undefined;
    try {
      fresh = this.#writeTo(fds.create(next), batch);
      if (fresh !== undefined) files.rename(next, this.#path);
      return fresh;
    } catch {
      if (fresh !== undefined) fds.close(fresh);
      return undefined;
    }
  }

  /** What has the name is no state any more, and goes, with the room that it took. */
  #writeUnnamed(batch: Uint8Array): number | undefined {
    const fd = this.#platform.fds.memoryFile("holdfast-state");
    if (this.#path !== "") this.#removeNames();
    return this.#writeTo(fd, batch);
  }

  #removeNames(): void {
    for (const path of [this.#path, `${this.#path}.new`]) {
      try {
        this.#platform.files.remove(path);
      } catch {
        // Something else stands there.
      }
    }
  }

  /** Returns the descriptor, or closes it if there is no room. */
  #writeTo(fd: number, batch: Uint8Array): number | undefined {
    const { fds, text } = this.#platform;
    if (this.#write(fd, text.encode(MAGIC)) && this.#write(fd, batch)) return fd;
    fds.close(fd);
    return undefined;
  }

  #write(fd: number, bytes: Uint8Array): boolean {
    try {
      return this.#platform.fds.write(fd, bytes) === bytes.length;
    } catch {
      return false;
    }
  }

  /** All of a batch is read, or nothing. */
  #batch(keys: Iterable<string>): Uint8Array {
    const entries: (Content | undefined)[] = [];
    for (const key of keys) entries.push(key, this.#live.get(key)?.());
    return this.#platform.recordBatch(entries);
  }
}

function checksum(hex: string): number {
  return Number.parseInt(hex.slice(0, 8), 16);
}

/**
 * The records of a file, in the order in which they were first put. What is torn at its end is left out. Throws if it is no state of this version; if
 * `mustBeSound`, also if a part of it is not what was written.
 */
export function readState(
  platform: Pick<Platform, "files" | "text" | "sha256">,
  path: string,
  mustBeSound = false,
): Map<string, Uint8Array> {
  const bytes = platform.files.readBytes(path, MAX_STATE);
  const records = new Map<string, Uint8Array>();
  if (bytes.length < MAGIC.length || platform.text.decode(bytes.subarray(0, MAGIC.length)) !== MAGIC) {
    throw new Error(`${path}: no state of version ${VERSION}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = MAGIC.length; at + BATCH_HEADER <= bytes.length; ) {
    const length = view.getUint32(at);
    const end = at + BATCH_HEADER + length;
    if (end > bytes.length) break;
    if (view.getUint32(at + 4) !== checksum(platform.sha256(bytes.subarray(at + BATCH_HEADER, end)))) {
      if (mustBeSound) throw new Error(`${path}: a checksum is wrong`);
      break;
    }
    readBatch(platform, bytes, at + BATCH_HEADER, end, records);
    at = end;
  }
  return records;
}

function readBatch(
  { text }: Pick<Platform, "text">,
  bytes: Uint8Array,
  start: number,
  end: number,
  records: Map<string, Uint8Array>,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = start; at + ENTRY_HEADER <= end; ) {
    const keyEnd = at + ENTRY_HEADER + view.getUint16(at);
    const length = view.getUint32(at + 2);
    const key = text.decode(bytes.subarray(at + ENTRY_HEADER, keyEnd));
    at = length === REMOVED ? keyEnd : keyEnd + length;
    if (at > end) return;
    if (length === REMOVED) records.delete(key);
    else records.set(key, bytes.slice(keyEnd, at));
  }
}
