// A first-in first-out file of events that has no name: it is unlinked as soon as it is open, and gone with the process. Used by queue.ts.
import type { Descriptors, Files, Text } from "../platform/platform.ts";
import { openUnnamed } from "../platform/unnamed-file.ts";
import type { PendingEvent } from "./pending-event.ts";

/** Of each record: the lengths of its description and of its bytes, 32 bits each. */
const HEADER_BYTES = 8;
const READ_BYTES = 64 << 10;

export class SpillFile {
  readonly #fds: Descriptors;
  readonly #text: Text;
  readonly #in: number;
  readonly #out: number;
  /** Whole records that have not been read. */
  #count = 0;
  /** Read, and not handed out. */
  #rest: Uint8Array = new Uint8Array(0);

  /** Throws a SystemError if there can be no file in the directory. */
  constructor({ fds, files, text }: { fds: Descriptors; files: Files; text: Text }, directory: string) {
    this.#fds = fds;
    this.#text = text;
    [this.#in, this.#out] = openUnnamed({ fds, files }, `${directory}/holdfast.events`);
  }

  get count(): number {
    return this.#count;
  }

  /** Throws a SystemError if there is no room; the file then takes no more, but gives what it has. */
  append({ topic, key, lasting, bytes }: PendingEvent): void {
    const about = this.#text.encode(JSON.stringify([topic, key, lasting]));
    const record = new Uint8Array(HEADER_BYTES + about.length + bytes.length);
    const header = new DataView(record.buffer);
    header.setUint32(0, about.length);
    header.setUint32(4, bytes.length);
    record.set(about, HEADER_BYTES);
    record.set(bytes, HEADER_BYTES + about.length);
    for (let rest = record; rest.length > 0; rest = rest.subarray(this.#fds.write(this.#in, rest)));
    this.#count++;
  }

  /** Takes the oldest. Throws if the file cannot be read. */
  next(): PendingEvent {
    const head = this.#view(HEADER_BYTES);
    const [about, length] = [head.getUint32(0), head.getUint32(4)];
    this.#view(HEADER_BYTES + about + length);
    const start = HEADER_BYTES + about;
    const [topic, key, lasting] = JSON.parse(this.#text.decode(this.#rest.subarray(HEADER_BYTES, start)));
    const bytes = this.#rest.slice(start, start + length);
    this.#rest = this.#rest.slice(start + length);
    this.#count--;
    return { topic, key, lasting, bytes, unanswered: 0, refusals: 0 };
  }

  close(): void {
    this.#fds.close(this.#in);
    this.#fds.close(this.#out);
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
