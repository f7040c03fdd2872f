// Tells when the kernel's OOM killer was at work in a container. The task service starts a watch right after create, and settles it
// when init has exited, before it reports that exit, so that TaskOOM always comes first (containerd issues 6323, 8180, 12714).
//
// systemd removes a scope as soon as its last process has ended, and the counter goes with it. On v2 the group around it still counts what was killed in
// there; on v1 the eventfd does: once for each OOM, and once more for the removal.

import type { Descriptors, Files, Text } from "../platform/platform.ts";
import { parseKeyed } from "./files.ts";
import type { CgroupPaths } from "./hierarchy.ts";

/** Where a container's OOM kills are counted, and who tells of them. */
export type OomSource =
  | { readonly version: 1; readonly counter: string; readonly eventControl: string }
  | { readonly version: 2; readonly counter: string; readonly around: string };

/** Undefined if the container has no memory cgroup to watch. */
export function oomSource(paths: CgroupPaths): OomSource | undefined {
  const directory = paths.directory("memory");
  if (directory === undefined) return undefined;
  if (paths.version === 2) {
    const around = `${directory.slice(0, directory.lastIndexOf("/"))}/memory.events`;
    return { version: 2, counter: `${directory}/memory.events`, around };
  }
  return {
    version: 1,
    counter: `${directory}/memory.oom_control`,
    eventControl: `${directory}/cgroup.event_control`,
  };
}

/** What a watch hands on to the one that goes on after it. */
export interface OomCounts {
  /** OOM kills that were told of. */
  readonly published: bigint;
  /** Those in the group around, when both were last read. */
  readonly around?: bigint | undefined;
}

/** Decides which notifications and counts are an OOM that has not been published. */
export class OomTally {
  /** OOM kills that were published, or were there before the watch. */
  #published: bigint;
  readonly #version: 1 | 2;

  /** `counter` is the text of the source's counter file when the watch begins; `published` what an earlier one has told of. */
  constructor(version: 1 | 2, counter: string, published?: bigint) {
    this.#version = version;
    this.#published = published ?? oomKills(counter);
  }

  get published(): bigint {
    return this.#published;
  }

  /** Whether a notification is of a new OOM; `counter` is the file's text now. */
  notified(counter: string): boolean {
    // v1 notifies before the kill is counted, and of nothing but OOM.
    if (this.#version === 1) {
      const kills = oomKills(counter);
      this.#published = kills > this.#published ? kills : this.#published + 1n;
      return true;
    }
    return this.settled(counter);
  }

  /** Whether there was a kill without a notification, once init has exited. */
  settled(counter: string): boolean {
    const kills = oomKills(counter);
    if (kills <= this.#published) return false;
    this.#published = kills;
    return true;
  }
}

/** Linux before 4.13 does not count on v1: always 0 there. */
function oomKills(counter: string): bigint {
  return parseKeyed(counter).get("oom_kill") ?? 0n;
}

/** What of the platform a watch needs. */
export interface OomIo {
  readonly fds: Pick<
    Descriptors,
    "openRead" | "close" | "discard" | "read" | "eventFd" | "watch" | "watchPriority" | "unwatch"
  >;
  readonly files: Pick<Files, "write">;
  readonly text: Pick<Text, "decode">;
}

const COUNTER_MAX = 4096;

/** Watches one container from construction to close(). `onOom` is called once for each OOM, never after close(). */
export class OomWatch {
  readonly #source: OomSource;
  readonly #io: OomIo;
  readonly #onOom: () => void;
  readonly #others: Set<OomWatch>;
  readonly #tally: OomTally;
  /** v1: the eventfd; v2: the open memory.events, whose changes since the last read wake a poll. -1 when the cgroup is gone. */
  #fd = -1;
  /** v1: what the eventfd has counted that no look at the cgroup has accounted for. */
  #signals = 0;
  /** v2: OOM kills in the group around when the container's own were last read; undefined where nobody counts them. */
  #around: bigint | undefined;
  #isClosed = false;

  /**
   * Throws a SystemError if the cgroup cannot be watched. With `kept` it goes on where an earlier one was, also if the cgroup is gone. `others` are those of
   * this shim's other containers: each is in there until it is closed.
   */
  constructor(
    source: OomSource,
    io: OomIo,
    onOom: () => void,
    kept?: OomCounts,
    others: Set<OomWatch> = new Set(),
  ) {
    this.#source = source;
    this.#io = io;
    this.#onOom = onOom;
    this.#others = others;
    this.#around = kept?.around;
    let text = "";
    try {
      text = this.#look(() => this.#watch());
    } catch (error) {
      if (kept === undefined) throw error;
    }
    this.#tally = new OomTally(source.version, text, kept?.published);
    others.add(this);
  }

  /** For one that goes on. */
  get counts(): OomCounts {
    return { published: this.#tally.published, around: this.#around };
  }

  /** Looks at the counter once more: an OOM that has not been told of is told of before this returns. False if the cgroup is gone. */
  check(): boolean {
    if (this.#isClosed) return false;
    // A notification that waits to be delivered counts now, so that it is not counted again later.
    const waiting = this.#fd >= 0 && this.#takeSignals();
    const text = this.#read();
    if (text === undefined) return false;
    this.#signals = 0;
    if (waiting ? this.#tally.notified(text) : this.#tally.settled(text)) this.#tell();
    return true;
  }

  /** The same when a process has ended. If the cgroup is gone, what is left of its counts decides, and `wasKilled`: by SIGKILL, which was not asked of us. */
  settle(wasKilled: boolean): void {
    if (this.#isClosed || this.check()) return;
    if (this.#source.version === 1 ? this.#wasSignalled() : wasKilled && this.#isMoreAround()) this.#tell();
  }

  close(): void {
    this.#isClosed = true;
    this.#others.delete(this);
    this.#unwatch();
  }

  /** v1: whether the eventfd has counted more than the removal. */
  #wasSignalled(): boolean {
    const signals = this.#signals;
    this.#signals = 0;
    return signals > 1;
  }

  /** v2: whether there were kills in the group around since it was last looked at; told once, whichever process of the container is reported first. */
  #isMoreAround(): boolean {
    const around = this.#readAround();
    if (around === undefined || this.#around === undefined || around <= this.#around) return false;
    this.#around = around;
    return true;
  }

  #tell(): void {
    this.#onOom();
    // What the group around has counted for this container is no other's.
    for (const other of [...this.#others]) if (other !== this) other.check();
  }

  /** Returns the counter's text as it is when the watch begins. */
  #watch(): string {
    const { fds, files } = this.#io;
    const { fd, text } = this.#open(this.#source.counter);
    const notified = (): void => this.#notified();
    if (this.#source.version === 2) {
      this.#fd = fd;
      fds.watchPriority(fd, notified);
      return text;
    }
    try {
      this.#fd = fds.eventFd();
      files.write(this.#source.eventControl, `${this.#fd} ${fd}`);
    } catch (error) {
      this.#unwatch();
      throw error;
    } finally {
      fds.discard(fd);
    }
    fds.watch(this.#fd, notified);
    return text;
  }

  #unwatch(): void {
    if (this.#fd < 0) return;
    this.#io.fds.unwatch(this.#fd);
    this.#io.fds.close(this.#fd);
    this.#fd = -1;
  }

  #notified(): void {
    if (this.#fd < 0) return;
    // settle() may have taken the notification already.
    if (this.#source.version === 1 && !this.#takeSignals()) return;
    const text = this.#rearm();
    // Removing a cgroup wakes its watchers too. Whether it was only that is settled when init's exit is known.
    if (text === undefined) {
      this.#unwatch();
      return;
    }
    this.#signals = 0;
    if (this.#tally.notified(text)) this.#tell();
  }

  /** v1: whether the eventfd was signalled since it was last read. */
  #takeSignals(): boolean {
    if (this.#source.version !== 1) return false;
    const count = this.#io.fds.read(this.#fd, 8);
    if (count === null) return false;
    // 64 bits in the order of the processor, which is little-endian wherever we run.
    this.#signals += new DataView(count.buffer, count.byteOffset).getUint32(0, true);
    return true;
  }

  /** v2: a poll reports changes since the file was last read from its start, which a fresh descriptor does. */
  #rearm(): string | undefined {
    if (this.#source.version === 1) return this.#read();
    this.#unwatch();
    try {
      return this.#look(() => this.#watch());
    } catch {
      return undefined;
    }
  }

  #read(): string | undefined {
    try {
      return this.#look(() => this.#readOnce(this.#source.counter));
    } catch {
      return undefined;
    }
  }

  /** Reads the container's own counter, and notes what the group around has counted at the same moment, if there was one. */
  #look(own: () => string): string {
    const before = this.#readAround();
    const text = own();
    if (before !== undefined && before === this.#readAround()) this.#around = before;
    return text;
  }

  #readAround(): bigint | undefined {
    if (this.#source.version === 1) return undefined;
    try {
      return oomKills(this.#readOnce(this.#source.around));
    } catch {
      return undefined;
    }
  }

  #readOnce(path: string): string {
    const { fd, text } = this.#open(path);
    this.#io.fds.discard(fd);
    return text;
  }

  #open(path: string): { fd: number; text: string } {
    const { fds, text } = this.#io;
    const fd = fds.openRead(path);
    try {
      return { fd, text: text.decode(fds.read(fd, COUNTER_MAX) ?? new Uint8Array()) };
    } catch (error) {
      fds.discard(fd);
      throw error;
    }
  }
}
