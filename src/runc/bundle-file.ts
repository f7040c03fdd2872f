// Small files in a bundle that a dead shim, another shim or a daemon has left: whatever stands at their place, reading them ends and is bounded.
import type { Platform } from "../platform/platform.ts";

/** Bytes, beyond which a file is not one of ours. */
const MAX_BYTES = 64 << 10;

/** The file's text; undefined if there is none. Throws an Error that names it if it is no regular file, or too long. */
export function readBundleFile({ files }: Platform, bundle: string, name: string): string | undefined {
  const path = `${bundle}/${name}`;
  const found = files.stat(path);
  if (found === null) return undefined;
  // A link could lead anywhere, a fifo has no end.
  if (found.kind !== "file") throw new Error(`${path}: is a ${found.kind}`);
  return files.read(path, MAX_BYTES);
}
