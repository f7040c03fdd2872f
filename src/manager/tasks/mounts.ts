// What is mounted below a directory, and taking it off. For bundles whose shim died; a shim that lives unmounts for itself.
import { readFile } from "node:fs/promises";
import { parseMountinfo } from "../../platform/mountinfo.ts";
import { runProgram } from "../program.ts";

const UNMOUNT_TIMEOUT_MS = 5000;

/** Mount points at and below `path`, the last mounted first. */
async function mountsAt(path: string): Promise<string[]> {
  const mounts = parseMountinfo(await readFile("/proc/self/mountinfo", "utf8"));
  return mounts
    .map(({ point }) => point)
    .filter((point) => point === path || point.startsWith(`${path}/`))
    .reverse();
}

/**
 * Unmounts all at and below `path`, so that its removal goes through nobody's files: a shim that was killed may have left binds of a user's directory, and
 * of an image's layers. Lazily, as containerd does: a process may still be in there. Rejects if something is mounted there all the same.
 */
export async function unmountBelow(path: string): Promise<void> {
  for (const point of await mountsAt(path)) {
    await runProgram(["umount", "--lazy", "--no-canonicalize", point], { timeoutMs: UNMOUNT_TIMEOUT_MS });
  }
  const [left] = await mountsAt(path);
  if (left !== undefined) throw new Error(`${left} is still mounted`);
}
