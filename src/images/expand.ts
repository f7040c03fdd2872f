// An archive that is packed as a whole, as it comes: holdfast-layer undoes the compression, in a process of its own. What is not packed passes as it is.
import { PassThrough, Readable } from "node:stream";
import { packingOf, startsWith } from "../api/packing.ts";
import { runLayer, withMountPoints } from "./layer-process.ts";

/** How bzip2 and xz begin, which layers are not packed by. */
const OTHERS: readonly Buffer[] = [Buffer.from("BZh"), Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])];
/** What zstd's own tools may put before the first frame: the low half of this byte is free. */
const SKIPPABLE = Buffer.from([0x50, 0x2a, 0x4d, 0x18]);
const LONGEST = 6;

export interface ExpandLimits {
  /** Of the plain archive. */
  readonly bytes: number;
  /** Plain to packed bytes, over 64 MiB. */
  readonly ratio: number;
}

export const EXPAND_LIMITS: ExpandLimits = { bytes: 1024 ** 4, ratio: 1000 };

/** `program` is holdfast-layer; `scratch` a directory for its root, made when it is needed. */
export interface Expander {
  readonly program: string;
  readonly scratch: string;
  readonly limits?: ExpandLimits;
}

/** The bytes of the archive, plain. Rejects with what is wrong with a packed one. */
export async function* expanded(
  expander: Expander,
  archive: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const chunks = archive[Symbol.asyncIterator]();
  let start = Buffer.alloc(0);
  let isOver = false;
  while (start.length < LONGEST && !isOver) {
    const { value, done } = await chunks.next();
    if (done === true) isOver = true;
    else start = Buffer.concat([start, value]);
  }
  async function* whole(): AsyncGenerator<Uint8Array> {
    if (start.length > 0) yield start;
    for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) yield next.value;
  }
  if (isPacked(start)) yield* unpacked(expander, Readable.from(whole(), { objectMode: false }));
  else yield* whole();
}

function isPacked(start: Buffer): boolean {
  const isSkippable =
    ((start[0] ?? 0) & 0xf0) === SKIPPABLE[0] && start.subarray(1, 4).equals(SKIPPABLE.subarray(1));
  return isSkippable || packingOf(start) !== "none" || OTHERS.some((magic) => startsWith(start, magic));
}

async function* unpacked(
  { program, scratch, limits = EXPAND_LIMITS }: Expander,
  input: Readable,
): AsyncGenerator<Uint8Array> {
  const plain = new PassThrough();
  const output = async (bytes: Uint8Array): Promise<void> => {
    if (plain.destroyed) throw new Error("nobody reads it any more");
    if (plain.write(bytes)) return;
    await new Promise<void>((resolve) => {
      plain.once("drain", resolve);
      plain.once("close", resolve);
    });
  };
  const done = withMountPoints(scratch, 1, (root = "") =>
    runLayer({ program, args: ["expand", `${limits.bytes}:${limits.ratio}`, root], input, output }),
  ).then(
    () => plain.end(),
    (error: Error) => plain.destroy(error),
  );
  try {
    for await (const chunk of plain) yield chunk as Uint8Array;
  } finally {
    plain.destroy();
    input.destroy();
    await done;
  }
}
