// How layers and archives are packed, told by their first bytes: for who stores images and who transfers them.

export type Packing = "none" | "gzip" | "zstd";

const GZIP = [0x1f, 0x8b];
const ZSTD = [0x28, 0xb5, 0x2f, 0xfd];
/** So many bytes tell it. */
export const PACKING_BYTES: number = ZSTD.length;

/** `start` is the beginning, or the whole if that is shorter. */
export function packingOf(start: Uint8Array): Packing {
  if (startsWith(start, GZIP)) return "gzip";
  return startsWith(start, ZSTD) ? "zstd" : "none";
}

export function startsWith(bytes: Uint8Array, magic: ArrayLike<number>): boolean {
  return Array.from(magic).every((byte, index) => bytes[index] === byte);
}
