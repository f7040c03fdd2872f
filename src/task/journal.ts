// What outlives the shim: one small file in each container's bundle, replaced in one step. `delete` reads it when the shim is dead, so that
// the runtime is found and the true exit status reported (containerd issues 4769, 6429). Written by src/task.
import type { Platform } from "../platform/platform.ts";
import { readBundleFile } from "../runc/bundle-file.ts";

const FILE = "holdfast.state";
/** What a keeper that has given its shim up writes (native/keeper.c): a line for each process that it has reaped since. */
const REAPED = "holdfast.exits";
const VERSION = 1;
const MAX_PID = 0x7fffffff;

export interface JournalEntry {
  /** The OCI runtime's program and state directory. */
  readonly runtime: { readonly binary: string; readonly root: string; readonly systemdCgroup: boolean };
  /** The init's pid; 0 before there is one. */
  readonly pid: number;
  /** `at` is undefined where it cannot be read any more. */
  readonly exit?: {
    readonly status: number;
    readonly at: bigint | undefined;
    /** Nobody knows how it ended. */
    readonly isUnknown?: boolean | undefined;
  };
  /** The bundle in which the shim has its records, and its keeper leaves what it reaps: in a pod, the first one's. */
  readonly home?: string;
}

/** Replaces the journal of a bundle. Throws a SystemError that names the file. */
export function writeJournal(platform: Platform, bundle: string, entry: JournalEntry): void {
  const { runtime, pid, home } = entry;
  const exit = entry.exit && {
    status: entry.exit.status,
    at: String(entry.exit.at),
    unknown: entry.exit.isUnknown,
  };
  const text = JSON.stringify({ version: VERSION, runtime, pid, exit, home });
  platform.files.replace(`${bundle}/${FILE}`, text, 0o600);
}

/**
 * The journal of a bundle; undefined if there is none, or none that can be understood. A field that makes no sense is left out, and the rest
 * used. Throws an Error if there is something at its place that is no such file.
 */
export function readJournal(platform: Platform, bundle: string): Partial<JournalEntry> | undefined {
  const text = readBundleFile(platform, bundle, FILE);
  const { version, runtime, pid, exit, home } = objectOf(text === undefined ? undefined : parse(text));
  if (version !== VERSION) return undefined;
  return {
    ...readRuntime(objectOf(runtime)),
    ...readPid(pid),
    ...readExit(objectOf(exit)),
    ...(isWord(home) && home.startsWith("/") && { home }),
  };
}

/**
 * How the process `pid` ended whose shim had been given up; undefined if its keeper has not said so. `bundle` is the one in which the shim was started. Throws
 * an Error if there is something at the file's place that is no such file.
 */
export function readReaped(platform: Platform, bundle: string, pid: number): JournalEntry["exit"] {
  const lines = (readBundleFile(platform, bundle, REAPED) ?? "").split("\n").map((line) => line.split(" "));
  // The first of that number: once it is reaped the number may be another's.
  const [, status, at] = lines.find(([reaped]) => reaped === String(pid)) ?? [];
  return readExit({ status: Number(status), at }).exit;
}

/** To be called when what it says has been taken in: the pids may be others' by now. */
export function removeReaped({ files }: Platform, bundle: string): void {
  if (files.stat(`${bundle}/${REAPED}`)?.kind === "file") files.remove(`${bundle}/${REAPED}`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function readRuntime({ binary, root, systemdCgroup }: Record<string, unknown>): Partial<JournalEntry> {
  if (!isWord(binary) || !isWord(root) || !root.startsWith("/")) return {};
  return { runtime: { binary, root, systemdCgroup: systemdCgroup === true } };
}

/** Whether it can name a program or a place. */
export function isWord(value: unknown): value is string {
  return typeof value === "string" && value !== "" && !value.includes("\0");
}

function readPid(pid: unknown): Partial<JournalEntry> {
  return isWithin(pid, 1, MAX_PID) ? { pid } : {};
}

/** A status without a time is worth having; a time without a status is not. */
function readExit({ status, at, unknown }: Record<string, unknown>): Partial<JournalEntry> {
  if (!isWithin(status, 0, 255)) return {};
  const time = typeof at === "string" && at.length <= 19 && isDecimal(at) ? BigInt(at) : undefined;
  return { exit: { status, at: time, ...(unknown === true && { isUnknown: true }) } };
}

function isWithin(value: unknown, least: number, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}

function isDecimal(text: string): boolean {
  for (const digit of text) if (digit < "0" || digit > "9") return false;
  return text !== "";
}
