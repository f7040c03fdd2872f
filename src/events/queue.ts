// The events that the daemon has not acknowledged, in order. Memory holds a bounded number of bytes; what comes beyond goes to a file that
// only this process knows, and comes back from there in the same order. Used by publisher.ts.
import { errorText, type Log } from "../log/log.ts";
import type { Descriptors, Files, Text } from "../platform/platform.ts";
import type { PendingEvent } from "./pending-event.ts";
import { SpillFile } from "./spill.ts";

/** Bytes of events in memory, beyond which they go to the file. */
const MEMORY_BYTES = 256 << 10;
/** What an event costs beside its bytes. */
const OVERHEAD_BYTES = 256;

export class EventQueue {
  readonly #platform: { files: Files; fds: Descriptors; text: Text };
  readonly #log: Log;
  readonly #directory: string;
  readonly #memory: PendingEvent[] = [];
  readonly #keys = new Set<string>();
  #bytes = 0;
  /** What is younger than all of memory; undefined if there is nothing. */
  #spill: SpillFile | undefined;

  /** The file is made in `directory` when it is needed. */
  constructor(platform: { files: Files; fds: Descriptors; text: Text }, log: Log, directory: string) {
    this.#platform = platform;
    this.#log = log;
    this.#directory = directory;
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
    this.#bytes -= cost(event);
    this.#keys.delete(event.key);
  }

  #keep(event: PendingEvent): void {
    this.#memory.push(event);
    this.#bytes += cost(event);
  }

  #toFile(event: PendingEvent): void {
    try {
      this.#spill ??= new SpillFile(this.#platform, this.#directory);
      this.#spill.append(event);
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
      if (spill.count > 0) return;
    } catch (error) {
      this.#log.error("waiting events are lost", { count: spill.count, error: errorText(error) });
    }
    spill.close();
    this.#spill = undefined;
  }
}

function cost(event: PendingEvent): number {
  return event.bytes.length + OVERHEAD_BYTES;
}
