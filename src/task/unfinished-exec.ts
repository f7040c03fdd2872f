// An exec that the runtime was starting when it died with an earlier shim: its process may be there, and nobody has been told of it.
import { isSystemError, SIGKILL } from "../platform/platform.ts";
import { readProcessStat } from "../reaper/process-stat.ts";
import { readPidFile } from "../runc/runc.ts";
import type { ShimContext } from "./context.ts";

/** How long a runtime that was killed may go on in what it has started, in ms. */
const DYING = 100;

interface Traces {
  readonly pidFile: string | undefined;
  /** Pids of the container's other processes. */
  readonly known: readonly number[];
  /** The text of /proc/PID/cgroup of the container's processes; undefined where others of them may fall to the keeper too. */
  readonly membership: string | undefined;
}

/** Kills what there is of the exec. */
export async function killUnfinishedExec(context: ShimContext, traces: Traces): Promise<void> {
  const { platform } = context;
  for (let round = 0; round < 2; round++) {
    if (round > 0) await new Promise<void>((resolve) => platform.clock.after(DYING, resolve));
    for (const pid of suspects(context, traces)) killChild(context, pid);
  }
  if (traces.pidFile === undefined) return;
  platform.files.remove(traces.pidFile);
  platform.files.remove(`${traces.pidFile.slice(0, -".pid".length)}.json`);
}

/** Children of the keeper, to which everything fell that the dead shim had started. Without one it may have fallen to anybody. */
function suspects(context: ShimContext, traces: Traces): number[] {
  const { pidFile, known, membership } = traces;
  const fallen = context.hasAdopted ? broughtInto(context, membership) : childrenOf(context);
  const children = fallen.filter((pid) => !known.includes(pid));
  const named = pidFile === undefined ? undefined : pidIn(context, pidFile);
  return children.filter(
    (pid) => pid === named || (membership !== undefined && cgroupOf(context, pid) === membership),
  );
}

/** The container's processes whose parents are not in it: those that the runtime has brought in. None if it is not known which are the container's. */
function broughtInto(context: ShimContext, membership: string | undefined): number[] {
  if (membership === undefined) return [];
  const { platform } = context;
  const pids = platform.files
    .list("/proc")
    .map(Number)
    .filter((pid) => pid > 0);
  const members = pids.filter((pid) => cgroupOf(context, pid) === membership);
  return members.filter((pid) => !members.includes(Number(readProcessStat(platform, pid)[1])));
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
