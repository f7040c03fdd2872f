// What is mounted below a directory, and taking it off. For bundles whose shim died; a shim that lives unmounts for itself.
import { readFile } from "node:fs/promises";
import { runProgram } from "./program.ts";

const UNMOUNT_TIMEOUT_MS = 5000;

/** Mount points at and below `path`, the last mounted first. */
export async function mountsAt(path: string): Promise<string[]> {
  const lines = (await readFile("/proc/self/mountinfo", "utf8")).trimEnd().split("\n");
  const points = lines.map((line) => unescaped(line.split(" ")[4] ?? ""));
  return points.filter((point) => point === path || point.startsWith(`${path}/`)).reverse();
}

/** Lazily, as containerd does for what a dead shim left: a process may still be in there. */
export async function unmount(point: string): Promise<void> {
  await runProgram(["umount", "--lazy", "--no-canonicalize", point], { timeoutMs: UNMOUNT_TIMEOUT_MS });
}

/** mountinfo writes blanks and backslashes in octal. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
