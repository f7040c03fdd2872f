// Reads /proc: who runs, with which parent, descriptors and memory. Used by the leak checks, the tests and the bench.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

export interface ProcessInfo {
  readonly pid: number;
  readonly parent: number;
  /** One letter, as in ps: R, S, Z ... */
  readonly state: string;
  /** Base name of the executable; empty for a zombie or a kernel thread. */
  readonly executable: string;
  readonly commandLine: string;
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

export function allPids(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** What /proc tells of a process, undefined when there is none. */
export function processInfo(pid: number): ProcessInfo | undefined {
  const stat = readText(`/proc/${pid}/stat`);
  if (stat === "") return undefined;
  const [state = "?", parent = "0"] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return {
    pid,
    parent: Number(parent),
    state,
    executable:
      readLink(`/proc/${pid}/exe`)
        .replace(/ \(deleted\)$/, "")
        .split("/")
        .at(-1) ?? "",
    commandLine: readText(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim(),
  };
}

/** Whether a process of that number runs. A zombie has ended. */
export function isRunning(pid: number): boolean {
  const info = processInfo(pid);
  return info !== undefined && info.state !== "Z";
}

/** Whether a process has a handler for a signal: without one, the first of a pid namespace is left alone by it. */
export function catches(pid: number, signal: number): boolean {
  const status = readText(`/proc/${pid}/status`);
  // runc's own program, which stands there until the container's has taken its place, has a handler for every signal.
  if (/^Name:\s+runc/m.test(status)) return false;
  const caught = status.match(/^SigCgt:\s+([0-9a-f]+)/m)?.[1] ?? "0";
  return ((BigInt(`0x${caught}`) >> BigInt(signal - 1)) & 1n) === 1n;
}

export function parentOf(pid: number): number {
  const info = processInfo(pid);
  if (info === undefined) throw new Error(`no process ${pid}`);
  return info.parent;
}

/** Processes whose arguments, environment or control group mention `mark`. */
export function processesMentioning(mark: string): ProcessInfo[] {
  const found: ProcessInfo[] = [];
  for (const pid of allPids()) {
    if (pid === process.pid) continue;
    const mentions = ["cmdline", "environ", "cgroup"].some((file) =>
      readText(`/proc/${pid}/${file}`).includes(mark),
    );
    const info = mentions ? processInfo(pid) : undefined;
    if (info !== undefined && info.state !== "Z") found.push(info);
  }
  return found;
}

/** What each open descriptor of a process leads to, sorted. */
export function openFiles(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`)
    .map((fd) => readLink(`/proc/${pid}/fd/${fd}`))
    .filter((target) => target !== "")
    .sort();
}

export interface Memory {
  /** All in KiB. */
  readonly rss: number;
  readonly pss: number;
  readonly private: number;
  readonly threads: number;
}

/** Memory of a process from smaps_rollup, and its thread count. */
export function memoryOf(pid: number): Memory {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const kib = (name: string): number =>
    Number(rollup.match(new RegExp(`^${name}:\\s+(\\d+)`, "m"))?.[1] ?? Number.NaN);
  const threads = Number(readText(`/proc/${pid}/status`).match(/^Threads:\s+(\d+)/m)?.[1]);
  return { rss: kib("Rss"), pss: kib("Pss"), private: kib("Private_Clean") + kib("Private_Dirty"), threads };
}

export function oomScoreOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/oom_score_adj`, "utf8"));
}
