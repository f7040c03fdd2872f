// A shim and its keeper (native/keeper.c): whoever kills the one alone only makes the other start it again. Used by tests of what comes after a shim's end.
import { readlinkSync } from "node:fs";
import { allPids, type ProcessInfo, parentOf, processInfo } from "./processes.ts";

/** The keeper of a shim; undefined if it has none. */
export function keeperOf(shim: number): number | undefined {
  const parent = processInfo(processInfo(shim)?.parent ?? 0);
  return parent?.commandLine === "holdfast-keeper" ? parent.pid : undefined;
}

/** The shim whose container's init `pid` is: its parent, or that parent's shim where the init has fallen to a keeper. */
export function shimOver(pid: number): number {
  const parent = parentOf(pid);
  if (processInfo(parent)?.commandLine !== "holdfast-keeper") return parent;
  const isItsShim = (info: ProcessInfo | undefined): boolean =>
    info?.parent === parent && info.commandLine.includes("containerd-shim-");
  return allPids().find((each) => isItsShim(processInfo(each))) ?? parent;
}

/** Kills a shim for good: its keeper with it, before either of them can make the other's death good. */
export function killForGood(shim: number): void {
  const keeper = keeperOf(shim);
  if (keeper !== undefined) {
    process.kill(shim, "SIGSTOP");
    process.kill(keeper, "SIGKILL");
  }
  process.kill(shim, "SIGKILL");
}

/** The keepers that work in a directory, or below it: their command line tells nothing of it. */
export function keepersBelow(directory: string): ProcessInfo[] {
  return allPids()
    .map(processInfo)
    .filter((info) => info !== undefined)
    .filter((info) => info.commandLine === "holdfast-keeper" && worksIn(info.pid, directory));
}

function worksIn(pid: number, directory: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/cwd`).startsWith(`${directory}/`);
  } catch {
    return false;
  }
}
