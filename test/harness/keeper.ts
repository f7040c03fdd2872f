// A shim and its keeper (native/keeper.c): whoever kills the one alone only makes the other start it again. Used by tests of what comes after a shim's end.
import { processInfo } from "./processes.ts";

/** The keeper of a shim; undefined if it has none. */
export function keeperOf(shim: number): number | undefined {
  const parent = processInfo(processInfo(shim)?.parent ?? 0);
  return parent?.commandLine.endsWith(" keep") === true ? parent.pid : undefined;
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
