// What an output does with what its sink has no room for; drop.ts and spill.ts are the two ways other than waiting.

import type { OutputRecord } from "./records.ts";

/** Bytes of one stream. */
export interface OverflowFigures {
  /** Lost: nobody will see them. */
  readonly dropped: bigint;
  /** On the disk, for a reader that comes back. */
  readonly waiting: bigint;
}

/** undefined where no stream has any. */
export function sumFigures(streams: readonly (OverflowFigures | undefined)[]): OverflowFigures | undefined {
  const known = streams.filter((figures) => figures !== undefined);
  const sum = (of: keyof OverflowFigures): bigint => known.reduce((all, figures) => all + figures[of], 0n);
  return known.length === 0 ? undefined : { dropped: sum("dropped"), waiting: sum("waiting") };
}

/** Whose overflow it is. */
export interface OverflowOwner {
  /** The sink has failed while what had waited was written to it. */
  sinkFailed(): void;
}

export interface Overflow {
  /** A relay to `sink` has begun; there is one at a time. */
  begin(relay: number, sink: number): void;
  /** The relay cannot go on: its sink is full (`code` is empty), or has failed with an errno. Returns false if that is the owner's business: the sink itself has failed. */
  stuck(code: string): boolean;
  /** The relay has ended, or is about to be stopped, and has moved so many bytes in all. */
  ended(moved: bigint): void;
  /** Whether anything waits on the disk. */
  readonly waits: boolean;
  /** Calls back once nothing waits any more. */
  whenEmpty(then: () => void): void;
  /** Grows as what has waited is taken. */
  readonly replayed: bigint;
  figures(): OverflowFigures;
  /** What a successor of the shim goes on with. */
  record?(): OutputRecord["waiting"];
  /** Brings what has waited to the sink, of a stream that has ended. */
  resume?(sink: number): void;
  /** Lets everything go; to be called when the relay has ended, and before the sink is closed. */
  close(): void;
}
