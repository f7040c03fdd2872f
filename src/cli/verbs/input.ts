// What a verb reads: a file that it was given, or our input.
import { open } from "node:fs/promises";
import type { Readable } from "node:stream";

/** Rejects, naming the file, if it cannot be opened or is a directory. `file` is "-" or undefined for our input. */
export async function openInput(file: string | undefined): Promise<Readable> {
  if (file === undefined || file === "-") return process.stdin;
  // With the stream alone, a file that is not there would be an event that nobody listens to yet.
  const handle = await open(file);
  if ((await handle.stat()).isDirectory()) {
    await handle.close();
    throw Object.assign(new Error("is a directory"), { code: "EISDIR", syscall: "read", path: file });
  }
  return handle.createReadStream();
}
