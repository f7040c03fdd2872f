// The keeper above a shim (native/keeper.c): the process that starts it again, and to which the shim's children fall when it is killed.
import { basename } from "node:path";
import { argumentsOf, childrenOf, executableOf, isOfOurs, statOf } from "./proc.ts";

const PREFIX = "containerd-shim-";
/** All that its command line says (native/keeper.c). */
export const KEEPER_COMMAND = "holdfast-keeper";

/** What a program is called after "containerd-shim-"; undefined for one that is no shim's. */
export function shimKind(executable: string): string | undefined {
  const name = basename(executable);
  return name.startsWith(PREFIX) ? name.slice(PREFIX.length) : undefined;
}

export function isKeeper(pid: number): boolean {
  const isShims = shimKind(executableOf(pid) ?? "") !== undefined;
  return isShims && isOfOurs(pid) && argumentsOf(pid)[0] === KEEPER_COMMAND;
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
