// What is on its way to the daemon, looked at as it passes.
import { PACKING_BYTES, type Packing, packingOf } from "../../api/packing.ts";

export interface PackedSource {
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Known when all chunks have passed. */
  readonly packing: () => Packing;
}

export function packedSource(source: AsyncIterable<Uint8Array>): PackedSource {
  let start = Buffer.alloc(0);
  const chunks = async function* (): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      if (start.length < PACKING_BYTES) start = Buffer.concat([start, chunk.subarray(0, PACKING_BYTES)]);
      yield chunk;
    }
  };
  return { chunks: chunks(), packing: () => packingOf(start) };
}
