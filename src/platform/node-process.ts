// Who a process is, for those who meet it again by its number: the number may be another's by then.
import { readFileSync, readlinkSync } from "node:fs";
import { startTimeIn, statFields } from "./process-stat.ts";

/** "PID STARTED NAMESPACE" of a process: its start in ticks since the machine's, and the namespace in which the number counts. */
export function processIdentity(pid: number = process.pid): string {
  const started = startTimeIn(statFields(readFileSync(`/proc/${pid}/stat`, "utf8")));
  return `${pid} ${started} ${readlinkSync("/proc/self/ns/pid")}`;
}

/** Whether the process has ended; false too if that cannot be told from here. */
export function hasEnded(identity: string): boolean {
  const [, pid, namespace] = /^(\d{1,10}) \d+ (pid:\[\d+\])$/.exec(identity) ?? [];
  if (pid === undefined || namespace !== readlinkSync("/proc/self/ns/pid")) return false;
  try {
    return processIdentity(Number(pid)) !== identity;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}
