// Frames of zstd, written without its library: blocks as they are (RFC 8878, 3.1.1).

const MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
/** A window of 128 KiB, which is the largest block. */
const WINDOW = Buffer.from([0x00, 0x38]);
const BLOCK = 128 * 1024;

export function zstd(data: Buffer): Buffer {
  const parts: Uint8Array[] = [MAGIC, WINDOW];
  for (let at = 0; at === 0 || at < data.length; at += BLOCK) {
    const block = data.subarray(at, at + BLOCK);
    const isLast = at + BLOCK >= data.length;
    const header = Buffer.alloc(3);
    header.writeUIntLE((block.length << 3) | (isLast ? 1 : 0), 0, 3);
    parts.push(header, block);
  }
  return Buffer.concat(parts);
}

/** What a decoder passes over. */
export function skippable(data: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(0x184d2a53, 0);
  header.writeUInt32LE(data.length, 4);
  return Buffer.concat([header, data]);
}
