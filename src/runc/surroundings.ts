// What a runtime is run with, and so the containers that it makes: a plain host's settings, and none of the daemon's or of the shim's.
import type { Platform, Surroundings } from "../platform/platform.ts";

/** A plain host's OOM score. Daemons are protected from the OOM killer; their containers must not be. */
export const PLAIN_OOM_SCORE = 0;

/**
 * What a daemon's service manager and the daemon have said to it and to us, and to nobody else. runc would take NOTIFY_SOCKET for the container's, and
 * `runc start` would wait for its READY=1; it hands LISTEN_FDS' descriptors on to the init; hooks get what is left.
 */
const OURS = new Set([
  "NOTIFY_SOCKET",
  "LISTEN_FDS",
  "LISTEN_PID",
  "LISTEN_FDNAMES",
  "WATCHDOG_USEC",
  "WATCHDOG_PID",
  "INVOCATION_ID",
  "JOURNAL_STREAM",
  "SYSTEMD_EXEC_PID",
  "MEMORY_PRESSURE_WATCH",
  "MEMORY_PRESSURE_WRITE",
  "CREDENTIALS_DIRECTORY",
  "FDSTORE",
  "MAINPID",
  "MANAGERPID",
  "TTRPC_ADDRESS",
  "GRPC_ADDRESS",
  "NAMESPACE",
  "SCHED_CORE",
  "MAX_SHIM_VERSION",
]);

/** The shim's own environment without that, as "NAME=value". */
export function runtimeEnvironment(own: Readonly<Record<string, string>>): string[] {
  return Object.entries(own)
    .filter(([name]) => !OURS.has(name) && !name.startsWith("HOLDFAST_"))
    .map(([name, value]) => `${name}=${value}`);
}

/** RLIMIT_ numbers of the names in /proc/PID/limits. */
const RESOURCES: Readonly<Record<string, number>> = {
  "Max cpu time": 0,
  "Max file size": 1,
  "Max data size": 2,
  "Max stack size": 3,
  "Max core file size": 4,
  "Max resident set": 5,
  "Max processes": 6,
  "Max open files": 7,
  "Max locked memory": 8,
  "Max address space": 9,
  "Max file locks": 10,
  "Max pending signals": 11,
  "Max msgqueue size": 12,
  "Max nice priority": 13,
  "Max realtime priority": 14,
  "Max realtime timeout": 15,
};

const OPEN_FILES = 7;
/**
 * The most open files, as systemd gives them to what it starts (DefaultLimitNOFILE in systemd-system.conf(5)). It gives itself a thousand times as many,
 * and programs that close all of them one by one would take minutes.
 */
const SOFT_OPEN_FILES = 1024;
const HARD_OPEN_FILES = 524_288;

/** The settings of a plain host. Its limits are those of its first process, which are nobody's wish. */
export function plainSurroundings({ files }: Platform): Surroundings {
  return {
    umask: 0o022,
    nice: 0,
    timerSlackNs: 50_000,
    coredumpFilter: 0x33,
    limits: parseLimits(firstLimits(files)),
  };
}

function firstLimits(files: Platform["files"]): string {
  try {
    return files.read("/proc/1/limits");
  } catch {
    // Hidden from us: then they are left as they are.
    return "";
  }
}

/** Lines of a name, a soft and a hard limit and mostly a unit, in columns. */
export function parseLimits(text: string): [resource: number, soft: number, hard: number][] {
  const limits: [number, number, number][] = [];
  for (const line of text.split("\n")) {
    const resource = RESOURCES[line.slice(0, 25).trim()];
    const [soft, hard] = line
      .slice(25)
      .split(" ")
      .filter((word) => word !== "");
    if (resource === undefined || soft === undefined || hard === undefined) continue;
    const bounded = resource === OPEN_FILES;
    limits.push([
      resource,
      parseLimit(soft, bounded ? SOFT_OPEN_FILES : undefined),
      parseLimit(hard, bounded ? HARD_OPEN_FILES : undefined),
    ]);
  }
  return limits;
}

/** -1 for no limit, which is more than any. */
function parseLimit(text: string, most: number | undefined): number {
  const limit = text === "unlimited" ? -1 : Number(text);
  return most !== undefined && (limit < 0 || limit > most) ? most : limit;
}
