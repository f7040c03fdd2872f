// What is mounted below a directory, and taking it off. For bundles whose shim died; a shim that lives unmounts for itself.
import { readFileSync } from "node:fs";
import { parseMountinfo } from "../../platform/mountinfo.ts";
import { runProgram } from "../program.ts";

const UNMOUNT_TIMEOUT_MS = 5000;

/**
 * Mount points at and below `path`, the last mounted first. Read synchronously: the kernel has the table in memory, and a thread would be asked six
 * times for it at every end of a container.
 */
function mountsAt(path: string): string[] {
  const table = readFileSync("/proc/self/mountinfo", "utf8");
  // With a thousand containers it takes longer to take the table apart than to see that it does not name this one.
  if (isWrittenPlain(path) && !table.includes(path)) return [];
  return parseMountinfo(table)
    .map(({ point }) => point)
    .filter((point) => point === path || point.startsWith(`${path}/`))
    .reverse();
}

/** Whether the table has the path as it is: see parseMountinfo. */
function isWrittenPlain(path: string): boolean {
  return /^[\w./:@%+,=-]+$/.test(path);
}

/**
 * Unmounts all at and below `path`, so that its removal goes through nobody's files: a shim that was killed may have left binds of a user's directory, and
 * of an image's layers. Lazily, as containerd does: a process may still be in there. Rejects if something is mounted there all the same.
 */
export async function unmountBelow(path: string): Promise<void> {
  const mounts = mountsAt(path);
  if (mounts.length === 0) return;
  for (const point of mounts) {
    await runProgram(["umount", "--lazy", "--no-canonicalize", point], { timeoutMs: UNMOUNT_TIMEOUT_MS });
  }
  const [left] = mountsAt(path);
  if (left !== undefined) throw new Error(`${left} is still mounted`);
}
