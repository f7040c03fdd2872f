// A first-in first-out file of events. It has no name, and is gone with the process; but where another shim may adopt this one's containers it keeps its name until
// all of it has been read.
import { whenWritten } from "../platform/effects.ts";
import type { Descriptors, Files, Text } from "../platform/platform.ts";
import { openUnnamed } from "../platform/unnamed-file.ts";
import { decodeEvent, encodeEvent, eventSize, HEADER_BYTES, type PendingEvent } from "./pending-event.ts";

const NAME = "holdfast.events";
const READ_BYTES = 64 << 10;

/** Where a file of events is made. `isKept`: it keeps its name. */
export interface SpillPlace {
  readonly directory: string;
  readonly isKept: boolean;
}

/** A file of events that outlives the process which made it. */
export interface SpillRecord {
  /** "" for none. */
  readonly path: string;
  readonly input: number;
  readonly output: number;
  /** Bytes that were handed out. */
  readonly read: number;
  readonly count: number;
}

export class SpillFile {
  readonly #fds: Descriptors;
  readonly #files: Files;
  readonly #text: Text;
  readonly #path: string;
  readonly #in: number;
  readonly #out: number;
  /** Whole records that have not been read. */
  #count = 0;
  /** Bytes of the records that were handed out. */
  #read = 0;
  /** Read, and not handed out. */
  #rest: Uint8Array = new Uint8Array(0);

  /** Throws a SystemError if there can be no file in the directory. With `kept` it is an earlier process's. */
  constructor(
    { fds, files, text }: { fds: Descriptors; files: Files; text: Text },
    { directory, isKept }: SpillPlace,
    kept?: SpillRecord,
  ) {
    this.#fds = fds;
    this.#files = files;
    this.#text = text;
    this.#path = kept?.path ?? "";
    if (kept !== undefined) {
      this.#in = kept.input;
      // From its start: what was read ahead is not known any more.
      this.#out = fds.openRead(`/proc/self/fd/${kept.output}`);
      fds.close(kept.output);
      this.#count = kept.count;
      for (
        let rest = kept.read;
        rest > 0;
        rest -= fds.read(this.#out, Math.min(rest, READ_BYTES))?.length ?? rest
      );
      return;
    }
    const path = `${directory}/${NAME}`;
    if (isKept) [this.#path, this.#in, this.#out] = openNamed({ fds, files }, path);
    else [this.#in, this.#out] = openUnnamed({ fds, files }, path);
  }

  get count(): number {
    return this.#count;
  }

  /** Throws a SystemError if there is no room; the file then takes no more, but gives what it has. */
  append(event: PendingEvent): void {
    const record = encodeEvent(this.#text, event);
    for (let rest = record; rest.length > 0; rest = rest.subarray(this.#fds.write(this.#in, rest)));
    this.#count++;
  }

  /** Takes the oldest. Throws if the file cannot be read. */
  next(): PendingEvent {
    const size = eventSize(this.#view(HEADER_BYTES));
    this.#view(size);
    const event = decodeEvent(this.#text, this.#rest.subarray(0, size));
    this.#rest = this.#rest.slice(size);
    this.#read += size;
    this.#count--;
    return event;
  }

  /** What a successor of this process goes on with. */
  record(): SpillRecord {
    return { path: this.#path, input: this.#in, output: this.#out, read: this.#read, count: this.#count };
  }

  /** To be called when no record names it any more. */
  close(): void {
    this.#fds.close(this.#in);
    this.#fds.close(this.#out);
    if (this.#path !== "") whenWritten(() => this.#files.remove(this.#path));
  }

  /** The next bytes of the file, at least `length` of them. */
  #view(length: number): DataView {
    while (this.#rest.length < length) {
      const more = this.#fds.read(this.#out, READ_BYTES);
      if (more === null || more.length === 0) throw new Error("the file of waiting events is cut short");
      const joined = new Uint8Array(this.#rest.length + more.length);
      joined.set(this.#rest);
      joined.set(more, this.#rest.length);
      this.#rest = joined;
    }
    return new DataView(this.#rest.buffer, this.#rest.byteOffset);
  }
}

/** Under a name of its own: that of an earlier process is read meanwhile. */
function openNamed(
  { fds, files }: { readonly fds: Descriptors; readonly files: Files },
  path: string,
): [path: string, writeEnd: number, readEnd: number] {
  let number = 1;
  while (files.stat(`${path}.${number}`) !== null) number++;
  const named = `${path}.${number}`;
  const writeEnd = fds.openAppend(named);
  try {
    return [named, writeEnd, fds.openRead(named)];
  } catch (error) {
    fds.close(writeEnd);
    files.remove(named);
    throw error;
  }
}

/** The record of a file whose processes are gone, opened anew. Throws if there is no such file. */
export function reopenSpill(
  { fds, files }: { readonly fds: Descriptors; readonly files: Files },
  record: SpillRecord,
): SpillRecord {
  const { path } = record;
  const kind = path === "" ? undefined : files.stat(path)?.kind;
  if (kind !== "file")
    throw new Error(`${path || "a file without a name"}: ${kind === undefined ? "is gone" : `is a ${kind}`}`);
  const input = fds.openAppend(path);
  try {
    return { ...record, input, output: fds.openRead(path) };
  } catch (error) {
    fds.close(input);
    throw error;
  }
}
