// What this program has no part for, Node has: holdfast-node beside it is the whole of `holdfast`, and takes the command line over. It begins anew, so
// nothing may have been done by then that it would do again.
import { argv, become, readLink } from "holdfast:host";

const NODE_PROGRAM = "holdfast-node";

let isBound = false;

/** From now on it is too late: something has been done, or said. */
export function bindToNative(): void {
  isBound = true;
}

/** Where this program is, or was before another one took its place. */
export function programPath(): string {
  try {
    return readLink("/proc/self/exe").replace(/ \(deleted\)$/, "");
  } catch {
    return argv[0] ?? "holdfast";
  }
}

/** Throws if it is too late, or that program is not there; `part` is what is wanted of it. */
export function goOnInNode(part: string): never {
  if (isBound) throw new Error(`${part} is wanted in the middle of something: this is a fault of holdfast`);
  const self = programPath();
  return become(`${self.slice(0, self.lastIndexOf("/") + 1)}${NODE_PROGRAM}`, "holdfast");
}
