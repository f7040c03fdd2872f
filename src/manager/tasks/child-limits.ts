// The limit of open files for shims, and so for runtimes and containers whose spec sets none. Node raises its own soft limit to the hard one as it starts,
// and cannot lower it for a child: programs that use select(2), or close every possible descriptor, break or crawl with a million.
import { readFileSync } from "node:fs";

/** What a login, a service of systemd and Docker's containers have. */
const SOFT_OPEN_FILES = 1024;

/** In front of an argv: it starts the rest with the usual soft limit, or with our hard limit if that is lower. */
export function withUsualLimits(argv: readonly string[], limits: string = readLimits()): string[] {
  const hard = /^Max open files\s+\d+\s+(\d+)/m.exec(limits)?.[1];
  const soft = Math.min(SOFT_OPEN_FILES, Number(hard ?? SOFT_OPEN_FILES));
  return ["prlimit", `--nofile=${soft}:`, "--", ...argv];
}

function readLimits(): string {
  return readFileSync("/proc/self/limits", "utf8");
}
