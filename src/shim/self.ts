// By what a shim and its keeper are told from other processes, and where the records are that outlive both. Written by serve.ts, read by adopt.ts.
import type { Platform } from "../platform/platform.ts";
import { startTimeIn } from "../platform/process-stat.ts";
import { readProcessStat, startTimeOf } from "../reaper/process-stat.ts";

const FILE = "holdfast.records";
/** How long a process may take to die that was killed, and how often to look, in ms. */
const DYING_TIMEOUT = 1_000;
const DYING_CHECK = 5;

export interface NamedProcess {
  readonly pid: number;
  readonly startTime: string;
}

export interface Self {
  /** The kernel's name for this boot: processes of another one are gone, whatever their pids say. */
  readonly boot: string;
  readonly shim: NamedProcess;
  /** pid 0 for none. */
  readonly keeper: NamedProcess;
}

/** The records of a shim that may be adopted. `bundle` is the one in which it was started. */
export function recordsPath(bundle: string): string {
  return `${bundle}/${FILE}`;
}

export function nameOfSelf(platform: Platform, keeper: number): Self {
  const nameOf = (pid: number): NamedProcess => ({
    pid,
    startTime: pid > 0 ? startTimeOf(platform, pid) : "",
  });
  return { boot: bootId(platform), shim: nameOf(platform.self.pid()), keeper: nameOf(keeper) };
}

export function bootId({ files }: Platform): string {
  return files.read("/proc/sys/kernel/random/boot_id", 64).trim();
}

/** A zombie has let everything go, and is as good as dead. */
export function isAlive(platform: Platform, { pid, startTime }: NamedProcess): boolean {
  if (pid === 0) return false;
  const fields = readProcessStat(platform, pid);
  return startTimeIn(fields) === startTime && !["Z", "X"].includes(fields[0] ?? "");
}

/** Whether it is dead, or is so soon: one that was killed takes a while to go. */
export async function hasDied(platform: Platform, process: NamedProcess): Promise<boolean> {
  const { clock } = platform;
  const deadline = clock.monotonicMs() + DYING_TIMEOUT;
  while (isAlive(platform, process)) {
    if (clock.monotonicMs() > deadline) return false;
    await new Promise<void>((resolve) => clock.after(DYING_CHECK, resolve));
  }
  return true;
}
