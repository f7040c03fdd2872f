// What is mounted below a directory, and taking it off. For bundles whose shim died; a shim that lives unmounts for itself.
import { readFile } from "node:fs/promises";
import { parseMountinfo } from "../platform/mountinfo.ts";
import { runProgram } from "./program.ts";

const UNMOUNT_TIMEOUT_MS = 5000;

/** Mount points at and below `path`, the last mounted first. */
export async function mountsAt(path: string): Promise<string[]> {
  const mounts = parseMountinfo(await readFile("/proc/self/mountinfo", "utf8"));
  return mounts
    .map(({ point }) => point)
    .filter((point) => point === path || point.startsWith(`${path}/`))
    .reverse();
}

/** Lazily, as containerd does for what a dead shim left: a process may still be in there. */
export async function unmount(point: string): Promise<void> {
  await runProgram(["umount", "--lazy", "--no-canonicalize", point], { timeoutMs: UNMOUNT_TIMEOUT_MS });
}
