// `-adopt start`: a new shim takes the containers of one over that was killed together with its keeper, or that its keeper has given up (docs/state.md). What
// is known of them are the records in the bundle; what was open there is opened again. holdfastd asks for it. Called by cmd/shim/main.ts, in the bundle.
import { joinCgroup } from "../cgroup/cgroup.ts";
import { reopenSpill } from "../events/spill.ts";
import { errorText } from "../log/log.ts";
import { isSystemError, type Platform, SIGKILL } from "../platform/platform.ts";
import { readState } from "../platform/state-log.ts";
import { openIdentified } from "../reaper/process-stat.ts";
import { readBundleFile } from "../runc/bundle-file.ts";
import { readJournal, removeReaped } from "../task/journal.ts";
import type { ProcessRecord } from "../task/process.ts";
import { type ContainerRecord, type ExecRecord, isUndone } from "../task/records.ts";
import { Reopening } from "../task/reopen.ts";
import type { Arguments } from "./args.ts";
import { readyConfig, servingWith } from "./bootstrap.ts";
import { DESCRIPTORS } from "./resume.ts";
import { bootId, hasDied, isAlive, type NamedProcess, recordsPath, type Self } from "./self.ts";
import type { ServeConfig } from "./serve.ts";
import { bindSocket } from "./socket.ts";

type Records = ReadonlyMap<string, Uint8Array>;

/** What a dead shim has left. */
interface Estate {
  readonly config: ServeConfig;
  readonly self: Self;
  readonly records: Records;
}

/**
 * Serves in place of a dead shim; answers with its address, as `start`. Rejects, with everything as it was, if the records are not what they should be, or
 * the shim is not dead.
 */
export async function adopt(platform: Platform, args: Arguments): Promise<void> {
  const { self, files, fds, text } = platform;
  const bundle = self.workingDirectory();
  const { config: former } = readEstate(platform, args, bundle);
  const { socket } = former;
  const kind = files.stat(socket)?.kind;
  if (kind !== undefined && kind !== "socket") throw new Error(`${socket}: is a ${kind}`);
  const listener = await bindSocket(platform, socket);
  const answer = (): void => void fds.write(1, text.encode(`unix://${socket}`));
  if (listener === undefined) {
    // Somebody has been quicker, for another container of the group.
    answer();
    return self.exit(0);
  }
  try {
    const estate = readEstate(platform, args, bundle);
    const config = readyConfig(platform, args, { ...former, listener });
    joinCgroup(platform, shimCgroupOf(estate, text.decode), [self.pid(), config.keeper]);
    const records = await takeAll(platform, estate);
    servingWith(platform, config, answer, { records, isAdopted: true });
    removeReaped(platform, config.bundle);
  } catch (error) {
    // First the name, as whoever comes next must not lose its own.
    files.remove(socket);
    fds.close(listener);
    throw error;
  }
}

/** Throws an Error that says what is wrong with what is there. */
function readEstate(platform: Platform, { namespace, id }: Arguments, bundle: string): Estate {
  const { text, files } = platform;
  const home = readJournal(platform, bundle)?.home;
  if (home === undefined)
    throw new Error(`${bundle}: its shim has kept no records by which it can be adopted`);
  const path = recordsPath(home);
  const kind = files.stat(path)?.kind;
  if (kind !== "file")
    throw new Error(`${path}: ${kind === undefined ? "there is no such file" : `is a ${kind}`}`);
  const records = readState(platform, path, true);
  const read = <T>(key: string): T => {
    const content = records.get(key);
    const value: unknown = content && JSON.parse(text.decode(content));
    if (typeof value !== "object" || value === null) throw new Error(`${path}: has no record "${key}"`);
    return value as T;
  };
  const config = read<ServeConfig>("shim");
  const self = read<Self>("self");
  const container = read<ContainerRecord>(`container ${id}`);
  const isTheirs =
    config.namespace === namespace &&
    config.bundle === home &&
    container.bundle === bundle &&
    readBundleFile(platform, bundle, "address")?.trim() === `unix://${config.socket}`;
  if (!isTheirs) throw new Error(`${path}: is of another container`);
  if (self.boot !== bootId(platform)) throw new Error(`${path}: is of another boot`);
  return { config, self, records };
}

function shimCgroupOf({ records }: Estate, decode: (bytes: Uint8Array) => string): string {
  for (const [key, content] of records) {
    if (key.startsWith("container "))
      return (JSON.parse(decode(content)) as ContainerRecord).options.shimCgroup;
  }
  return "";
}

/** The records as a shim can go on with them that has opened everything itself. */
async function takeAll(platform: Platform, { config, self, records }: Estate): Promise<Records> {
  const { text } = platform;
  if (!(await hasDied(platform, self.shim)))
    throw new Error(`the shim lives, and does not serve: pid ${self.shim.pid}`);
  const kept = await takeFromKeeper(platform, self.keeper, config, records);
  const warnings: string[] = [];
  const warn = (line: string): void => void warnings.push(line);
  const reopening = new Reopening(platform, config.bundle, pidsIn(records, text.decode), warn);
  const taken = new Map<string, Uint8Array>();
  for (const [key, content] of kept ?? records) {
    const isSpill = kept === undefined && key === "spill";
    const changed = isSpill
      ? waitingEvents(platform, text.decode(content), warn)
      : reopened(key, text.decode(content), reopening, kept !== undefined);
    // Connections have ended with those who held them, and their calls.
    if (changed !== undefined) taken.set(key, text.encode(changed));
    else if (key.startsWith("event ") || key.startsWith("deleted ") || (key === "spill" && !isSpill))
      taken.set(key, content);
  }
  for (const line of warnings) platform.fds.write(2, text.encode(`${line}\n`));
  return taken;
}

/** The record of the file in which events wait; undefined if it cannot be had any more. */
function waitingEvents(platform: Platform, json: string, warn: (line: string) => void): string | undefined {
  try {
    return JSON.stringify(reopenSpill(platform, JSON.parse(json)));
  } catch (error) {
    warn(`events that waited on the disk are lost: ${errorText(error)}`);
    return undefined;
  }
}

/** undefined for a record without processes. */
function reopened(key: string, json: string, reopening: Reopening, isKept: boolean): string | undefined {
  if (key.startsWith("container ")) {
    const record = JSON.parse(json) as ContainerRecord;
    const init = isUndone(record) ? unopened(record.init) : reopening.process(record.init, isKept);
    return JSON.stringify({ ...record, init });
  }
  if (!key.startsWith("exec ")) return undefined;
  const record = JSON.parse(json) as ExecRecord;
  const process = isUndone(record) ? unopened(record.process) : reopening.process(record.process, isKept);
  return JSON.stringify({ ...record, process });
}

/** Of what is made again nothing is wanted. */
function unopened(record: ProcessRecord): ProcessRecord {
  return { ...record, pid: 0, pidfd: -1, stdio: undefined };
}

function pidsIn(records: Records, decode: (bytes: Uint8Array) => string): number[] {
  const pids: number[] = [];
  for (const [key, content] of records) {
    if (key.startsWith("container ")) pids.push((JSON.parse(decode(content)) as ContainerRecord).init.pid);
    else if (key.startsWith("exec ")) pids.push((JSON.parse(decode(content)) as ExecRecord).process.pid);
  }
  return pids.filter((pid) => pid > 0);
}

// --- a keeper that has given up

/** A keeper that has given its shim up still has everything open: it is taken from it, and the keeper ends. undefined if it is dead. */
async function takeFromKeeper(
  platform: Platform,
  keeper: NamedProcess,
  config: ServeConfig,
  records: Records,
): Promise<Records | undefined> {
  if (!isAlive(platform, keeper)) return undefined;
  const { processes, fds, text } = platform;
  const pidfd = openIdentified(platform, keeper.pid, { startTime: keeper.startTime });
  if (pidfd === undefined) return undefined;
  try {
    // The one descriptor that it closes when it gives up.
    if (take(platform, pidfd, config.listener) >= 0)
      throw new Error(`its keeper is at work: pid ${keeper.pid}`);
    const taken = new Map<string, Uint8Array>();
    for (const [key, content] of records) {
      const hasDescriptors = key.startsWith("container ") || key.startsWith("exec ") || key === "spill";
      const record: unknown = hasDescriptors ? JSON.parse(text.decode(content)) : {};
      if (!hasDescriptors || isUndone(record ?? {})) taken.set(key, content);
      else taken.set(key, text.encode(JSON.stringify(takeIn(platform, pidfd, record))));
    }
    const ended = new Promise<void>((resolve) => fds.watch(pidfd, resolve));
    processes.killPidfd(pidfd, SIGKILL);
    await ended;
    return taken;
  } catch (error) {
    throw new Error(`what its keeper holds cannot be taken: ${errorText(error)}`);
  } finally {
    fds.close(pidfd);
  }
}

/** The value with descriptors of our own in place of the keeper's. */
function takeIn(platform: Platform, pidfd: number, value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => takeIn(platform, pidfd, item));
  const fields = Object.entries(value).map(([name, field]) => {
    const isDescriptor = typeof field === "number" && DESCRIPTORS.includes(name);
    return [name, isDescriptor ? take(platform, pidfd, field) : takeIn(platform, pidfd, field)];
  });
  return Object.fromEntries(fields);
}

/** -1 if it has nothing under that number. */
function take({ processes }: Platform, pidfd: number, fd: number): number {
  if (fd < 0) return -1;
  try {
    return processes.takeDescriptor(pidfd, fd);
  } catch (error) {
    if (isSystemError(error, "EBADF")) return -1;
    throw error;
  }
}
