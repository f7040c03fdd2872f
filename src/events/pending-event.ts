// An event that waits for the daemon. Made by publisher.ts, kept by queue.ts and spill.ts.
export interface PendingEvent {
  readonly topic: string;
  /** Of several events with the same key one is enough; empty for an event of its own. */
  readonly key: string;
  /** The encoded request that forwards it. */
  readonly bytes: Uint8Array;
  /** Never given up for want of room: an exit. */
  readonly lasting: boolean;
  /** How often it was sent and nothing came back. */
  unanswered: number;
  /** How often the daemon refused it, or took a later event while it left this one without an answer. */
  refusals: number;
}
