// What /proc/PID/stat says of a process, and by what it can be told from another of the same number.
import type { Platform } from "../platform/platform.ts";
import { startTimeIn, statFields } from "../platform/process-stat.ts";

/** What names a process beside its pid, which is another's as soon as it has been reaped. */
export interface Identity {
  /** In clock ticks since the boot. */
  readonly startTime: string;
  /** Of its pidfd: unique since Linux 6.9, the same for all before. */
  readonly inode: number;
}

/** The fields of /proc/PID/stat from the state on. None if there is no such process. */
export function readProcessStat({ files }: Pick<Platform, "files">, pid: number): string[] {
  try {
    return statFields(files.read(`/proc/${pid}/stat`, 4096));
  } catch {
    return [];
  }
}

/** Empty if there is no such process. */
export function startTimeOf(platform: Pick<Platform, "files">, pid: number): string {
  return startTimeIn(readProcessStat(platform, pid));
}

/** Of a process that is not reaped meanwhile; undefined if it is gone. */
export function identify(platform: Platform, pid: number, pidfd: number): Identity | undefined {
  const startTime = startTimeOf(platform, pid);
  return startTime === "" || pidfd < 0 ? undefined : { startTime, inode: platform.fds.stat(pidfd).inode };
}

/** A pidfd of the process, or of the zombie, that was identified so; undefined if it is gone. */
export function openIdentified(
  platform: Platform,
  pid: number,
  { startTime, inode }: { readonly startTime: string; readonly inode?: number },
): number | undefined {
  let pidfd: number;
  try {
    pidfd = platform.processes.openPidfd(pid);
  } catch {
    return undefined;
  }
  // Whoever has the number and that start time now had the number when it was opened.
  const found = identify(platform, pid, pidfd);
  if (found?.startTime === startTime && (inode ?? found.inode) === found.inode) return pidfd;
  platform.fds.close(pidfd);
  return undefined;
}
