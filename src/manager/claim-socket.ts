// Makes way for a unix socket of ours.
import { rm, stat } from "node:fs/promises";
import { nodeNet } from "../platform/node.ts";
import { isSystemError } from "../platform/platform.ts";

/** Removes the socket that a dead server has left at `path`. Rejects if somebody serves there, or if it is something else: that is not ours to remove. */
export async function claimSocket(path: string): Promise<void> {
  try {
    const stream = await nodeNet.connect(path);
    stream.close();
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return;
    if (!isSystemError(error, "ECONNREFUSED")) throw error;
    // connect(2) says the same of a dead socket and of a file.
    if ((await stat(path)).isSocket()) return rm(path);
    throw new Error(`${path} exists and is no socket`, { cause: error });
  }
  throw new Error(`${path}: another daemon serves there`);
}
