// The keeper above a shim (native/keeper.c): the process that starts it again, and to which the shim's children fall when it is killed.
import { basename } from "node:path";
import { argumentsOf, childrenOf, executableOf, isOfOurs, statOf } from "./proc.ts";

const PREFIX = "containerd-shim-";
/** All that its command line says (native/keeper.c). */
const COMMAND = "holdfast-keeper";

export function isKeeper(pid: number): boolean {
  return isShimProgram(pid) && isOfOurs(pid) && argumentsOf(pid)[0] === COMMAND;
}

function isShimProgram(pid: number): boolean {
  return basename(executableOf(pid) ?? "").startsWith(PREFIX);
}

/** The keeper of the shim `pid`; undefined if it has none. */
export function keeperOf(pid: number): number | undefined {
  const parent = statOf(pid)?.parent;
  return parent !== undefined && isKeeper(parent) ? parent : undefined;
}

/** The shim's children, its own and those that fell to its keeper from the ones before it. */
export function childrenOfShim(pid: number): number[] {
  const keeper = keeperOf(pid);
  const fallen = keeper === undefined ? [] : childrenOf(keeper).filter((child) => child !== pid);
  return [...childrenOf(pid), ...fallen];
}
