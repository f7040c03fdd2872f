// A batch of the shim's state as docs/state.md has it, made by other code than the shim's own.
import { createHash } from "node:crypto";

const REMOVED = 0xffffffff;

/** Keys and contents by turns; undefined for a record that is gone. */
export function recordBatch(entries: readonly (string | Uint8Array | undefined)[]): Buffer {
  const parts: Buffer[] = [];
  for (let i = 0; i < entries.length; i += 2) {
    const [key, content] = [Buffer.from(entries[i] ?? ""), entries[i + 1]];
    const bytes = Buffer.from(content ?? "");
    const header = Buffer.alloc(6);
    header.writeUInt16BE(key.length, 0);
    header.writeUInt32BE(content === undefined ? REMOVED : bytes.length, 2);
    parts.push(header, key, bytes);
  }
  return sealedBatch(Buffer.concat(parts));
}

/** With its length and checksum. */
export function sealedBatch(entries: Uint8Array): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32BE(entries.length, 0);
  createHash("sha256").update(entries).digest().copy(header, 4, 0, 4);
  return Buffer.concat([header, entries]);
}
