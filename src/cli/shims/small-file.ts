// Reading a file whose name may stand for something else: only what is a file, and only so much of it.
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";

const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW, O_NOCTTY } = constants;

/** undefined for what is not there, no plain file (a fifo, a device, a link), or longer than `limit` bytes. Never waits. */
export function readSmallFile(path: string, limit: number): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);
  } catch {
    return undefined;
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size > limit) return undefined;
    const bytes = Buffer.alloc(stat.size);
    return bytes.toString("utf8", 0, readSync(fd, bytes));
  } catch {
    return undefined;
  } finally {
    closeSync(fd);
  }
}
