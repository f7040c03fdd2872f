// What /proc tells of processes and unix sockets. Used to find shims and to say what they hold, with nobody's help.

import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { startTimeIn, statFields } from "../../platform/process-stat.ts";

const DELETED = " (deleted)";
/** The kernel shows times in 1/100 s, whatever its own clock does. */
const TICKS_PER_SECOND = 100;
const ACCEPTS_CONNECTIONS = 0x10000;

export interface ProcessStat {
  readonly parent: number;
  /** One letter as in ps; T is stopped by a signal. */
  readonly state: string;
  /** When it was started, in clock ticks since the host was: with the pid the identity of a process. */
  readonly startTicks: number;
  /** Milliseconds since it was started. */
  readonly ageMs: number;
}

export interface MemoryUse {
  readonly rssBytes: number;
  /** Memory that nobody shares. */
  readonly privateBytes: number;
}

export interface OpenFile {
  readonly fd: number;
  /** A path, "socket:[1234]", "pipe:[1234]", "anon_inode:…". */
  readonly target: string;
}

function text(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function link(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

export function allPids(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** The path of the program, undefined for what has ended and for kernel threads. A replaced file keeps its name. */
export function executableOf(pid: number): string | undefined {
  const path = link(`/proc/${pid}/exe`);
  return path?.endsWith(DELETED) === true ? path.slice(0, -DELETED.length) : path;
}

export function argumentsOf(pid: number): string[] {
  const line = text(`/proc/${pid}/cmdline`) ?? "";
  return line === "" ? [] : line.replace(/\0$/, "").split("\0");
}

/** The working directory, and whether it has been removed. */
export function directoryOf(pid: number): { path: string; removed: boolean } | undefined {
  const path = link(`/proc/${pid}/cwd`);
  if (path === undefined) return undefined;
  return path.endsWith(DELETED)
    ? { path: path.slice(0, -DELETED.length), removed: true }
    : { path, removed: false };
}

let ourMounts: string | undefined;

/**
 * Whether a process is of our user and sees what we see: not one of a container, which has a mount or pid namespace of its own, and not one of
 * another user of this host.
 */
export function isOfOurs(pid: number): boolean {
  const status = text(`/proc/${pid}/status`) ?? "";
  const [, real, effective] = /^Uid:\t(\d+)\t(\d+)/m.exec(status) ?? [];
  const user = String(process.geteuid?.() ?? 0);
  if (real !== user || effective !== user) return false;
  // It has a number in each pid namespace from ours down to its own.
  if (/^NSpid:\t(.*)$/m.exec(status)?.[1]?.includes("\t") !== false) return false;
  ourMounts ??= link("/proc/self/ns/mnt");
  return ourMounts !== undefined && link(`/proc/${pid}/ns/mnt`) === ourMounts;
}

let booted: number | undefined;

/** Milliseconds since the host was started. */
function uptimeMs(): number {
  const now = process.uptime() * 1000;
  booted ??= now - Number(text("/proc/uptime")?.split(" ")[0] ?? 0) * 1000;
  return now - booted;
}

/** undefined when there is no such process. */
export function statOf(pid: number): ProcessStat | undefined {
  const stat = text(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  const fields = statFields(stat);
  const startTicks = Number(startTimeIn(fields));
  return {
    state: fields[0] ?? "?",
    parent: Number(fields[1]),
    startTicks,
    ageMs: Math.max(0, uptimeMs() - (startTicks / TICKS_PER_SECOND) * 1000),
  };
}

/** undefined where the kernel does not let us look. */
export function memoryOf(pid: number): MemoryUse | undefined {
  const rollup = text(`/proc/${pid}/smaps_rollup`);
  if (rollup === undefined || rollup === "") return undefined;
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(rollup)?.[1] ?? 0);
  return {
    rssBytes: kib("Rss") * 1024,
    privateBytes: (kib("Private_Clean") + kib("Private_Dirty")) * 1024,
  };
}

export function openFilesOf(pid: number): OpenFile[] {
  return [...linksOf(pid)].sort((a, b) => a.fd - b.fd);
}

/** As far as they are taken: the kernel looks each up. */
function* linksOf(pid: number): Generator<OpenFile> {
  let names: string[];
  try {
    names = readdirSync(`/proc/${pid}/fd`);
  } catch {
    return;
  }
  for (const name of names) {
    const target = link(`/proc/${pid}/fd/${name}`);
    if (target !== undefined) yield { fd: Number(name), target };
  }
}

export function threadsOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    return [];
  }
}

/** The children of a process, of all its threads. */
export function childrenOf(pid: number): number[] {
  return threadsOf(pid).flatMap((thread) =>
    (text(`/proc/${pid}/task/${thread}/children`) ?? "").split(" ").filter(Boolean).map(Number),
  );
}

/** The kernel function that the main thread sleeps in; undefined for one that runs. */
export function sleepsIn(pid: number): string | undefined {
  const where = text(`/proc/${pid}/wchan`);
  return where === undefined || where === "" || where === "0" ? undefined : where;
}

/** Number and arguments of the system call that the main thread is in; undefined for one that runs. */
export function syscallOf(pid: number): string | undefined {
  const call = text(`/proc/${pid}/syscall`)?.trim();
  return call === undefined || !/^\d/.test(call) ? undefined : call;
}

/** The frames of a thread in the kernel, one a line; empty if there are none or the kernel does not say. */
export function stackOf(pid: number, thread: number): string {
  return (text(`/proc/${pid}/task/${thread}/stack`) ?? "").trim();
}

/** Paths of the unix sockets that take connections, by inode. The path of an abstract one starts with "@". */
export type SocketPaths = ReadonlyMap<string, readonly string[]>;

/** Anybody may choose a name with lines in it that look like rows for other sockets: an inode may have several paths. */
export function listeningSockets(): SocketPaths {
  const found = new Map<string, string[]>();
  for (const row of (text("/proc/net/unix") ?? "").split("\n").slice(1)) {
    const match = /^\S+: \S+ \S+ (\S+) \S+ \S+ +(\d+) (.+)$/.exec(row);
    if (match === null || (Number.parseInt(match[1] ?? "", 16) & ACCEPTS_CONNECTIONS) === 0) continue;
    const [, , inode = "", path = ""] = match;
    found.set(inode, [...(found.get(inode) ?? []), path]);
  }
  return found;
}

/** The inode of an open file that is a socket; undefined for others. */
export function socketInode(target: string): string | undefined {
  return /^socket:\[(\d+)\]$/.exec(target)?.[1];
}

/** The sockets of `sockets` that the process holds. */
export function socketsOf(pid: number, sockets: SocketPaths): string[] {
  return [...new Set([...linksOf(pid)].flatMap(({ target }) => pathsOf(target, sockets)))];
}

/** The descriptor of the socket that holdsSocket() found last: shims of one kind have it under the same number. */
let likely = 0;

/** Whether `path` is one of them. */
export function holdsSocket(pid: number, path: string, sockets: SocketPaths): boolean {
  const guess = link(`/proc/${pid}/fd/${likely}`);
  if (guess !== undefined && pathsOf(guess, sockets).includes(path)) return true;
  for (const { fd, target } of linksOf(pid)) {
    if (!pathsOf(target, sockets).includes(path)) continue;
    likely = fd;
    return true;
  }
  return false;
}

/** Where an inode has several paths, only what nobody but our user can have made counts. */
function pathsOf(target: string, sockets: SocketPaths): readonly string[] {
  const paths = target.startsWith("socket:") ? (sockets.get(socketInode(target) ?? "") ?? []) : [];
  return paths.length <= 1 ? paths : paths.filter(isOurSocket);
}

function isOurSocket(path: string): boolean {
  try {
    const stat = lstatSync(path);
    return stat.isSocket() && stat.uid === process.geteuid?.();
  } catch {
    return false;
  }
}
