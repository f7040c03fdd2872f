// What outlives the shim: one small file in each container's bundle, replaced in one step. `delete` reads it when the shim is dead, so that
// the runtime is found and the true exit status told (containerd issues 4769, 6429). Written by src/task.
import { isSystemError, type Platform } from "../platform/platform.ts";

const FILE = "holdfast.state";
const VERSION = 1;

export interface JournalEntry {
  /** The OCI runtime's program and state directory. */
  readonly runtime: { readonly binary: string; readonly root: string; readonly systemdCgroup: boolean };
  /** The init's pid; 0 before there is one. */
  readonly pid: number;
  readonly exit?: { readonly status: number; readonly at: bigint };
}

/** Replaces the journal of a bundle. Throws a SystemError that names the file. */
export function writeJournal(platform: Platform, bundle: string, entry: JournalEntry): void {
  const exit = entry.exit && { status: entry.exit.status, at: String(entry.exit.at) };
  const text = JSON.stringify({ version: VERSION, runtime: entry.runtime, pid: entry.pid, exit });
  platform.files.replace(`${bundle}/${FILE}`, text, 0o600);
}

/** The journal of a bundle; undefined if there is none, or none that can be understood. */
export function readJournal(platform: Platform, bundle: string): JournalEntry | undefined {
  let value: unknown;
  try {
    value = JSON.parse(platform.files.read(`${bundle}/${FILE}`));
  } catch (error) {
    if (isSystemError(error) && !isSystemError(error, "ENOENT")) throw error;
    return undefined;
  }
  const { version, runtime, pid, exit } = value as Record<string, unknown>;
  if (version !== VERSION || typeof pid !== "number") return undefined;
  return { runtime: runtime as JournalEntry["runtime"], pid, ...parseExit(exit) };
}

function parseExit(exit: unknown): Pick<JournalEntry, "exit"> {
  if (typeof exit !== "object" || exit === null) return {};
  const { status, at } = exit as { status: number; at: string };
  return { exit: { status, at: BigInt(at) } };
}
