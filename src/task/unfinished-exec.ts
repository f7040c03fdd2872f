// An exec that the runtime was starting when it died with an earlier shim: its process may be there, and nobody has been told of it.
import { isSystemError, type Platform, SIGKILL } from "../platform/platform.ts";
import { startTimeIn } from "../platform/process-stat.ts";
import { readProcessStat } from "../reaper/process-stat.ts";
import { readPidFile, removePidFile } from "../runc/runc.ts";
import type { ShimContext } from "./context.ts";
import type { ExecBeginning } from "./records.ts";

/** How long a runtime that was killed may go on in what it has started, in ms. */
const DYING = 100;
/** Of the fields of /proc/PID/stat. */
const SESSION = 3;
/** Most generations between the shim and a process that its runtime has made. */
const GENERATIONS = 16;

interface Traces extends Partial<ExecBeginning> {
  /** The pid of the container's init. */
  readonly init: number;
  /** The text of /proc/PID/cgroup of the container's processes. */
  readonly membership: string | undefined;
  /** Whether others of the container's processes may be there that have lost their parent: in a pid namespace of its own they fall to its init. */
  readonly mayBeOrphans: boolean;
}

/** The time since the boot, in the clock ticks in which the kernel says when a process was started. */
export function now({ files }: Platform): number {
  const [seconds = "", hundredths = ""] = (files.read("/proc/uptime", 64).split(" ")[0] ?? "").split(".");
  return Number(seconds) * 100 + Number(hundredths);
}

/** Removes what stands in the bundle while an exec is started. */
export function removeStartFiles(platform: Platform, pidFile: string): void {
  platform.files.remove(`${pidFile.slice(0, -".pid".length)}.json`);
  removePidFile(platform, pidFile);
}

/** Kills what there is of the exec. */
export async function killUnfinishedExec(context: ShimContext, traces: Traces): Promise<void> {
  const { platform } = context;
  for (let round = 0; round < 2; round++) {
    if (round > 0) await new Promise<void>((resolve) => platform.clock.after(DYING, resolve));
    for (const pid of suspects(context, traces)) killChild(context, pid);
  }
  if (traces.pidFile !== undefined) removeStartFiles(platform, traces.pidFile);
}

/**
 * Of what nobody here knows: children of the keeper, to which everything fell that the dead shim had started. Without one it may have fallen to anybody. What
 * this shim starts meanwhile is its own child.
 */
function suspects(context: ShimContext, traces: Traces): number[] {
  const { platform, reaper } = context;
  const { pidFile } = traces;
  const fallen = context.hasAdopted ? broughtInto(context, traces) : childrenOf(context);
  const unknown = fallen.filter((pid) => pid !== platform.self.pid() && !reaper.knows(pid));
  const named = pidFile === undefined ? undefined : pidIn(context, pidFile);
  return unknown.filter((pid) => pid === named || isOfExec(context, pid, traces));
}

function isOfExec(context: ShimContext, pid: number, { membership, mayBeOrphans, since }: Traces): boolean {
  if (membership === undefined || cgroupOf(context, pid) !== membership) return false;
  if (!mayBeOrphans) return true;
  // A runtime gives what it starts a session. An orphan that has one, and was started in the same moment, is not to be had by chance.
  const fields = readProcessStat(context.platform, pid);
  return since !== undefined && Number(fields[SESSION]) === pid && Number(startTimeIn(fields)) >= since;
}

/**
 * The container's processes whose parents are not in it: those that the runtime has brought in. None if it is not known which are the container's. Another
 * daemon's container of the same namespace and id has the same control group.
 */
function broughtInto(context: ShimContext, { membership, init }: Traces): number[] {
  if (membership === undefined) return [];
  const { platform } = context;
  const pids = platform.files
    .list("/proc")
    .map(Number)
    .filter((pid) => pid > 0);
  const namespace = pidNamespaceOf(platform, init);
  const members = pids.filter(
    (pid) => cgroupOf(context, pid) === membership && pidNamespaceOf(platform, pid) === namespace,
  );
  return members.filter((pid) => !members.includes(parentOf(platform, pid)) && !isOurs(platform, pid));
}

/** By its inode; undefined if there is no such process. */
function pidNamespaceOf({ fds }: Platform, pid: number): number | undefined {
  let fd: number;
  try {
    fd = fds.openPath(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined;
  }
  try {
    return fds.stat(fd).inode;
  } finally {
    fds.close(fd);
  }
}

/** Whether the process comes from this shim. */
function isOurs(platform: Platform, pid: number): boolean {
  return descendsFrom(pid, platform.self.pid(), (each) => parentOf(platform, each));
}

/** `parent` gives 0 for what has none, or has ended. */
export function descendsFrom(pid: number, ancestor: number, parent: (pid: number) => number): boolean {
  let above = pid;
  for (let generation = 0; above > 1 && generation < GENERATIONS; generation++) {
    const next = parent(above);
    if (next === ancestor) return true;
    // A runtime has ended while it was looked at: what it has started has another parent now.
    above = next === 0 && above !== pid ? pid : next;
  }
  return false;
}

/** 0 if there is none, or no such process. */
function parentOf(platform: Platform, pid: number): number {
  return Number(readProcessStat(platform, pid)[1] ?? 0);
}

function childrenOf({ platform, keeper }: ShimContext): number[] {
  try {
    const text = platform.files.read(`/proc/${keeper}/task/${keeper}/children`);
    return text
      .split(" ")
      .map(Number)
      .filter((pid) => pid > 0);
  } catch {
    return [];
  }
}

function pidIn({ platform }: ShimContext, file: string): number | undefined {
  try {
    return readPidFile(platform, file);
  } catch {
    return undefined;
  }
}

function cgroupOf({ platform }: ShimContext, pid: number): string | undefined {
  try {
    return platform.files.read(`/proc/${pid}/cgroup`);
  } catch {
    return undefined;
  }
}

function killChild({ platform }: ShimContext, pid: number): void {
  try {
    const pidfd = platform.processes.openPidfd(pid);
    try {
      platform.processes.killPidfd(pidfd, SIGKILL);
    } finally {
      platform.fds.close(pidfd);
    }
  } catch (error) {
    if (!isSystemError(error, "ESRCH")) throw error;
  }
}
