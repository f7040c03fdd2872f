// An event that waits for the daemon, and how it is written down. Made by publisher.ts, kept by queue.ts and spill.ts.
import type { Text } from "../platform/platform.ts";

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

/** Of each record: the lengths of its description and of its bytes, 32 bits each. */
export const HEADER_BYTES = 8;

export function encodeEvent(text: Text, { topic, key, lasting, bytes }: PendingEvent): Uint8Array {
  const about = text.encode(JSON.stringify([topic, key, lasting]));
  const record = new Uint8Array(HEADER_BYTES + about.length + bytes.length);
  const header = new DataView(record.buffer);
  header.setUint32(0, about.length);
  header.setUint32(4, bytes.length);
  record.set(about, HEADER_BYTES);
  record.set(bytes, HEADER_BYTES + about.length);
  return record;
}

/** The size of the record whose header this is. */
export function eventSize(header: DataView): number {
  return HEADER_BYTES + header.getUint32(0) + header.getUint32(4);
}

/** A whole record's event. */
export function decodeEvent(text: Text, record: Uint8Array): PendingEvent {
  const about = new DataView(record.buffer, record.byteOffset).getUint32(0);
  const start = HEADER_BYTES + about;
  const [topic, key, lasting] = JSON.parse(text.decode(record.subarray(HEADER_BYTES, start)));
  return { topic, key, lasting, bytes: record.slice(start), unanswered: 0, refusals: 0 };
}
