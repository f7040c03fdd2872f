// Reads a peer's message only as long as it has a sane number of parts: 4 MiB of empty entries would become hundreds of megabytes of objects.
// Used wherever a server decodes what it was sent.

import { BinaryReader } from "@bufbuild/protobuf/wire";
import { Code, TtrpcError } from "./status.ts";

/** Tags, lengths and 32-bit numbers that one message may hold, at all depths together. Real requests have a few hundred. */
export const MAX_PARTS: number = 1 << 15;

/** A reader for a codec's decode(). It throws RESOURCE_EXHAUSTED in the middle of a message that holds too much. */
export function boundedReader(bytes: Uint8Array): BinaryReader {
  // Each part takes a byte at least.
  return bytes.length <= MAX_PARTS ? new BinaryReader(bytes) : new BoundedReader(bytes);
}

class BoundedReader extends BinaryReader {
  constructor(bytes: Uint8Array) {
    super(bytes);
    const readNumber = this.uint32;
    let left = MAX_PARTS;
    // Every tag and every length is read by this one.
    this.uint32 = () => {
      if (left-- > 0) return readNumber.call(this);
      throw new TtrpcError(Code.RESOURCE_EXHAUSTED, `message holds more than ${MAX_PARTS} parts`);
    };
  }
}
