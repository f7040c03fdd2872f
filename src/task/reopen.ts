// Opens again what a dead shim and its keeper had open, and writes the new descriptors into the records that name the old ones: processes by pidfd, fifos by
// path, pipes by the processes that have their other end. What nobody holds any more is lost: a terminal, and the input of a process that has seen its end.
import { errorText } from "../log/log.ts";
import type { Platform } from "../platform/platform.ts";
import { openIdentified } from "../reaper/process-stat.ts";
import { UNKNOWN_STATUS } from "../reaper/reaper.ts";
import type { InputRecord, LoggerRecord, OutputRecord, PipeIdentity, StdioRecord } from "../stdio/records.ts";
import { parseTarget } from "../stdio/target.ts";
import { parseUri } from "../stdio/uri.ts";
import { readReaped } from "./journal.ts";
import type { ProcessRecord } from "./process.ts";

/** How an adopted process ended while nobody watched. */
type Lost = NonNullable<ProcessRecord["lost"]>;

export class Reopening {
  readonly #platform: Platform;
  /** Where a keeper may have left exits. */
  readonly #home: string;
  /** Processes that may hold the other ends of pipes, the likeliest first. */
  readonly #holders: readonly number[];
  readonly #warn: (text: string) => void;

  constructor(platform: Platform, home: string, pids: readonly number[], warn: (text: string) => void) {
    this.#platform = platform;
    this.#home = home;
    this.#holders = pids;
    this.#warn = warn;
  }

  /** `isKept`: its descriptors are open already, taken from a keeper that had given up. */
  process(record: ProcessRecord, isKept: boolean): ProcessRecord {
    const stdio = isKept ? record.stdio : this.#stdio(record);
    if (record.pid === 0 || record.exit !== undefined) return { ...record, stdio };
    const { pid, identity } = record;
    const again = identity === undefined ? undefined : openIdentified(this.#platform, pid, identity);
    const former = isKept ? record.pidfd : -1;
    if (again !== undefined) {
      if (former >= 0) this.#platform.fds.close(former);
      return { ...record, stdio, pidfd: again };
    }
    const reaped = readReaped(this.#platform, this.#home, pid);
    // One that was open before the process was reaped: the kernel tells by it how it ended.
    if (reaped === undefined && former >= 0) return { ...record, stdio, pidfd: former };
    if (former >= 0) this.#platform.fds.close(former);
    const { status, at } = reaped ?? { status: UNKNOWN_STATUS };
    const lost: Lost = {
      status,
      at: at === undefined ? undefined : String(at),
      isUnknown: reaped === undefined,
    };
    return { ...record, stdio, pidfd: -1, lost };
  }

  #stdio(record: ProcessRecord): StdioRecord | undefined {
    const { id, stdio, terminal, stdin } = record;
    if (stdio === undefined) return undefined;
    if (terminal) {
      this.#warn(`the terminal of ${id} is gone with those who held it`);
      return undefined;
    }
    const outputs = stdio.outputs.map((output) => this.#output(output, id));
    const loggers = new Map<string, LoggerRecord>();
    for (const { uri, source } of outputs) {
      if (source >= 0 && this.#kindOf(uri) === "logger") loggers.set(uri, { uri, pid: 0, pidfd: -1 });
    }
    const ended: StdioRecord = { sink: -1, outputs, loggers: [...loggers.values()] };
    const input = this.#input(stdin, stdio);
    return input === undefined ? ended : { ...ended, ...input, pipe: stdio.pipe };
  }

  #output(output: OutputRecord, id: string): OutputRecord {
    const { uri, pipe } = output;
    const source = output.source < 0 ? -1 : this.#pipe(pipe, false);
    const nothing = { uri, source: -1, sink: -1, reader: -1, broken: false };
    if (source < 0) return nothing;
    if ((output.waiting?.length ?? 0) > 0) this.#warn(`output of ${id} that waited on the disk is lost`);
    try {
      return { ...nothing, pipe, source, ...this.#sink(uri, output.broken) };
    } catch (error) {
      this.#warn(`output of ${id} goes nowhere from here on: ${errorText(error)}`);
      return { ...nothing, pipe, source, sink: this.#platform.fds.openWrite("/dev/null"), broken: true };
    }
  }

  #sink(uri: string, isBroken: boolean): Pick<OutputRecord, "sink" | "reader" | "broken"> {
    const { fds } = this.#platform;
    if (isBroken) return { sink: fds.openWrite("/dev/null"), reader: -1, broken: true };
    const target = parseTarget(this.#platform, uri);
    switch (target.kind) {
      case "file":
        return { sink: fds.openAppend(target.path), reader: -1, broken: false };
      case "fifo":
        return { reader: fds.openRead(target.path), sink: fds.openWrite(target.path), broken: false };
      default:
        return { sink: -1, reader: -1, broken: false };
    }
  }

  #kindOf(uri: string): string {
    try {
      return parseTarget(this.#platform, uri).kind;
    } catch {
      return "none";
    }
  }

  #input(uri: string, { input, pipe }: StdioRecord): { input: InputRecord; sink: number } | undefined {
    if (input === undefined || input.source < 0) return undefined;
    const { fds } = this.#platform;
    const sink = this.#pipe(pipe, true);
    if (sink < 0) return undefined;
    try {
      const { path } = parseUri(uri);
      const source = fds.openRead(path);
      const writer = input.writer < 0 ? -1 : fds.openWrite(path);
      return { sink, input: { source, writer, mayBeUnopened: input.mayBeUnopened } };
    } catch (error) {
      this.#warn(`input ends: ${errorText(error)}`);
      fds.close(sink);
      return undefined;
    }
  }

  /** Our end of a pipe, by a process that has the other one; -1 if none has. */
  #pipe(pipe: PipeIdentity | undefined, forWriting: boolean): number {
    if (pipe === undefined) return -1;
    for (const pid of this.#everybody()) {
      for (const fd of this.#list(`/proc/${pid}/fd`)) {
        const end = this.#open(`/proc/${pid}/fd/${fd}`, pipe, forWriting);
        if (end >= 0) return end;
      }
    }
    return -1;
  }

  *#everybody(): Iterable<number> {
    yield* this.#holders;
    for (const name of this.#list("/proc")) {
      const pid = Number(name);
      if (pid > 0 && !this.#holders.includes(pid)) yield pid;
    }
  }

  /** The file behind the path may be anything that a container has opened: it is looked at first, and opened only if it is the pipe. */
  #open(path: string, { device, inode }: PipeIdentity, forWriting: boolean): number {
    const { fds } = this.#platform;
    let seen = -1;
    try {
      seen = fds.openPath(path);
      const found = fds.stat(seen);
      if (found.kind !== "fifo" || found.device !== device || found.inode !== inode) return -1;
      const again = `/proc/self/fd/${seen}`;
      return forWriting ? fds.openWrite(again) : fds.openRead(again);
    } catch {
      return -1;
    } finally {
      if (seen >= 0) fds.close(seen);
    }
  }

  #list(path: string): string[] {
    try {
      return this.#platform.files.list(path);
    } catch {
      return [];
    }
  }
}
