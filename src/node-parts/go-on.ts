// What this program has no part for, Node has: holdfast-node beside it is the whole of `holdfast`, and takes the command line over. It begins anew, so
// nothing may have been done by then that it would do again.
import { argv, become, realPath } from "holdfast:host";

const NODE_PROGRAM = "holdfast-node";

let isBound = false;

/** From now on it is too late: something has been done, or said. */
export function bindToNative(): void {
  isBound = true;
}

/** Throws if it is too late, or that program is not there; `part` is what is wanted of it. */
export function goOnInNode(part: string): never {
  if (isBound) throw new Error(`${part} is wanted in the middle of something: this is a fault of holdfast`);
  const self = realPath("/proc/self/exe");
  const program = `${self.slice(0, self.lastIndexOf("/"))}/${NODE_PROGRAM}`;
  return become(program, ["holdfast", ...argv.slice(1)]);
}
