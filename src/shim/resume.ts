// A shim that goes on where one was killed: it has every descriptor that was open then, and the records that say what they are. Called by
// cmd/shim/main.ts in a process that the keeper has made.
import { isSystemError, type Keeper, type Platform } from "../platform/platform.ts";
import { readState } from "../platform/state-log.ts";
import { isUndone } from "../task/records.ts";
import { recordCrash } from "./crash.ts";
import { type ServeConfig, serve } from "./serve.ts";
import { STATE_IS_READABLE } from "./succession.ts";

/** Fields of records that are descriptors; -1 for none. */
export const DESCRIPTORS: readonly string[] = [
  "pidfd",
  "source",
  "sink",
  "reader",
  "writer",
  "held",
  "listener",
  "input",
  "output",
];

export function resume(platform: Platform, keeper: Keeper): void {
  const records = readState(platform, `/proc/self/fd/${keeper.state}`);
  const shim = records.get("shim");
  if (shim === undefined) throw new Error("the state does not say what the shim serves");
  const config = JSON.parse(platform.text.decode(shim)) as ServeConfig;
  try {
    closeUnknown(platform, [...keeper.own, ...knownDescriptors(platform, records)]);
    serve(platform, { ...config, keeper: keeper.pid }, { records, isAdopted: false });
  } catch (error) {
    recordCrash(platform, config.bundle, error);
    throw error;
  }
}

/** Whether this program can go on with the state that its stdin reads. Throws an Error that says why not. */
export function probeState(platform: Platform): string {
  const records = readState(platform, "/proc/self/fd/0");
  if (records.get("shim") === undefined) throw new Error("the state does not say what the shim serves");
  knownDescriptors(platform, records);
  return STATE_IS_READABLE;
}

/** What was opened for something that nobody has written down came to nothing. */
function closeUnknown({ files, fds }: Platform, known: readonly number[]): void {
  for (const name of files.list("/proc/self/fd")) {
    const fd = Number(name);
    if (fd <= 2 || known.includes(fd)) continue;
    try {
      fds.close(fd);
    } catch (error) {
      // The one by which they were listed.
      if (!isSystemError(error, "EBADF")) throw error;
    }
  }
}

function knownDescriptors({ text }: Platform, records: ReadonlyMap<string, Uint8Array>): number[] {
  const found: number[] = [];
  for (const [key, content] of records) {
    if (key.startsWith("connection ")) {
      const [fd, , isInDoubt] = JSON.parse(text.decode(content));
      if (!isInDoubt) found.push(fd);
    } else if (key === "shim" || key === "spill" || key.startsWith("container ") || key.startsWith("exec ")) {
      const record = JSON.parse(text.decode(content));
      if (!isUndone(record)) collect(record, found);
    }
  }
  return found;
}

function collect(value: unknown, found: number[]): void {
  if (typeof value !== "object" || value === null) return;
  for (const [name, field] of Object.entries(value)) {
    if (typeof field === "number" && DESCRIPTORS.includes(name)) found.push(field);
    else collect(field, found);
  }
}
