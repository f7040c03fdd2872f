// google.protobuf.Timestamp to and from nanoseconds since 1970 (Clock.realtimeNs). Used wherever a time goes over the wire.

import type { Timestamp } from "./generated/google/protobuf/timestamp.ts";

const NS_PER_SECOND = 1_000_000_000n;

/** Times before 1970 (negative) keep their nanos positive, as the format asks. */
export function timestampFromNs(ns: bigint): Timestamp {
  const nanos = ((ns % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  return { seconds: (ns - nanos) / NS_PER_SECOND, nanos: Number(nanos) };
}

export function nsFromTimestamp(timestamp: Timestamp): bigint {
  return timestamp.seconds * NS_PER_SECOND + BigInt(timestamp.nanos);
}
