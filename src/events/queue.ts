// The events that the daemon has not acknowledged, in order. Memory holds a bounded number of bytes; what comes beyond goes to a file that only this
// process knows, and comes back from there in the same order.
import { errorText, type Log } from "../log/log.ts";
import type { Descriptors, Files, Text } from "../platform/platform.ts";
import { noRecords, type Records } from "../platform/state-log.ts";
import { decodeEvent, encodeEvent, type PendingEvent } from "./pending-event.ts";
import { SpillFile, type SpillPlace, type SpillRecord } from "./spill.ts";

/** Bytes of events in memory, beyond which they go to the file. */
const MEMORY_BYTES = 128 << 10;
/** What an event costs beside its bytes. */
const OVERHEAD_BYTES = 256;

export class EventQueue {
  readonly #platform: { files: Files; fds: Descriptors; text: Text };
  readonly #log: Log;
  readonly #place: SpillPlace;
  readonly #records: Records;
  readonly #memory: PendingEvent[] = [];
  /** Under which each of them is written down, in their order. */
  readonly #numbers = new Map<PendingEvent, number>();
  #count = 0;
  readonly #keys = new Set<string>();
  #bytes = 0;
  /** What is younger than all of memory; undefined if there is nothing. */
  #spill: SpillFile | undefined;

  /** The file is made at `place` when it is needed; `records` outlive this process. */
  constructor(
    platform: { files: Files; fds: Descriptors; text: Text },
    log: Log,
    place: SpillPlace,
    records: Records = noRecords,
  ) {
    this.#records = records;
    this.#platform = platform;
    this.#log = log;
    this.#place = place;
  }

  /** Takes over what an earlier process has not delivered. */
  takeOver(kept: ReadonlyMap<string, Uint8Array>): void {
    const { text } = this.#platform;
    const events = [...kept].filter(([key]) => key.startsWith("event "));
    for (const [key] of events) this.#count = Math.max(this.#count, Number(key.slice("event ".length)));
    for (const [key, content] of events) {
      this.#records.remove(key);
      this.push(decodeEvent(text, content));
    }
    const spilled = kept.get("spill");
    if (spilled === undefined) return;
    const record: SpillRecord = JSON.parse(text.decode(spilled));
    const file = new SpillFile(this.#platform, this.#place, record);
    // Into a file of our own: what was being written to this one when the other died may be cut short.
    try {
      while (file.count > 0) this.push(file.next());
    } catch (error) {
      this.#log.error("waiting events are lost", { count: file.count, error: errorText(error) });
    }
    // Also where all of them have come into memory: the numbers that stand there are others' soon.
    this.#noteSpill();
    file.close();
  }

  get size(): number {
    return this.#memory.length + (this.#spill?.count ?? 0);
  }

  /** Topics in order; those in the file are only counted. */
  topics(): string[] {
    const spilled = this.#spill?.count ?? 0;
    return [
      ...this.#memory.map(({ topic }) => topic),
      ...(spilled > 0 ? [`and ${spilled} more in a file`] : []),
    ];
  }

  /** Adds an event at the end, unless one with its key is there. */
  push(event: PendingEvent): void {
    if (event.key !== "") {
      if (this.#keys.has(event.key)) return;
      this.#keys.add(event.key);
    }
    if (this.#spill === undefined && this.#bytes + cost(event) <= MEMORY_BYTES) this.#keep(event);
    else this.#toFile(event);
  }

  /** The event at a place counted from the front: 0 or 1. */
  at(place: 0 | 1): PendingEvent | undefined {
    if (this.#spill !== undefined && this.#memory.length <= place) this.#refill(this.#spill);
    return this.#memory[place];
  }

  remove(event: PendingEvent): void {
    const place = this.#memory.indexOf(event);
    if (place < 0) return;
    this.#memory.splice(place, 1);
    this.#records.remove(this.#recordKey(event));
    this.#numbers.delete(event);
    this.#bytes -= cost(event);
    this.#keys.delete(event.key);
  }

  #keep(event: PendingEvent): void {
    this.#memory.push(event);
    this.#bytes += cost(event);
    this.#numbers.set(event, ++this.#count);
    this.#records.put(this.#recordKey(event), () => encodeEvent(this.#platform.text, event));
  }

  #recordKey(event: PendingEvent): string {
    return `event ${this.#numbers.get(event)}`;
  }

  #noteSpill(): void {
    const spill = this.#spill;
    if (spill === undefined) this.#records.remove("spill");
    else this.#records.put("spill", () => JSON.stringify(spill.record()));
  }

  #toFile(event: PendingEvent): void {
    try {
      this.#spill ??= new SpillFile(this.#platform, this.#place);
      this.#spill.append(event);
      this.#noteSpill();
    } catch (error) {
      // No room, or no bundle any more: what is in the file comes back, and from here on only what must not be lost is taken.
      this.#log.error("no file for waiting events", { error: errorText(error), kept: event.lasting });
      if (this.#spill !== undefined) this.#refill(this.#spill, Number.POSITIVE_INFINITY);
      if (event.lasting) this.#keep(event);
      else this.#keys.delete(event.key);
    }
  }

  #refill(spill: SpillFile, bytes: number = MEMORY_BYTES / 2): void {
    try {
      while (this.#bytes < bytes && spill.count > 0) this.#keep(spill.next());
      this.#noteSpill();
      if (spill.count > 0) return;
    } catch (error) {
      this.#log.error("waiting events are lost", { count: spill.count, error: errorText(error) });
    }
    this.#spill = undefined;
    this.#noteSpill();
    spill.close();
  }
}

function cost(event: PendingEvent): number {
  return event.bytes.length + OVERHEAD_BYTES;
}
