// Tells when the kernel's OOM killer was at work in a container. The task service starts a watch right after create, and settles it
// when init has exited, before it reports that exit, so that TaskOOM always comes first (containerd issues 6323, 8180, 12714).

import type { Descriptors, Files, Text } from "../platform/platform.ts";
import { parseKeyed } from "./files.ts";
import type { CgroupPaths } from "./hierarchy.ts";

/** Where a container's OOM kills are counted, and who tells of them. */
export type OomSource =
  | { readonly version: 1; readonly counter: string; readonly eventControl: string }
  | { readonly version: 2; readonly counter: string };

/** Undefined if the container has no memory cgroup to watch. */
export function oomSource(paths: CgroupPaths): OomSource | undefined {
  const directory = paths.directory("memory");
  if (directory === undefined) return undefined;
  if (paths.version === 2) return { version: 2, counter: `${directory}/memory.events` };
  return {
    version: 1,
    counter: `${directory}/memory.oom_control`,
    eventControl: `${directory}/cgroup.event_control`,
  };
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
    "openRead" | "close" | "read" | "eventFd" | "watch" | "watchPriority" | "unwatch"
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
  readonly #tally: OomTally;
  /** v1: the eventfd; v2: the open memory.events, whose changes since the last read wake a poll. -1 when the cgroup is gone. */
  #fd = -1;

  /** Throws a SystemError if the cgroup cannot be watched. With `published` it goes on where an earlier one was. */
  constructor(source: OomSource, io: OomIo, onOom: () => void, published?: bigint) {
    this.#source = source;
    this.#io = io;
    this.#onOom = onOom;
    const { fd, text } = this.#open();
    this.#tally = new OomTally(source.version, text, published);
    if (source.version === 1) {
      try {
        this.#fd = io.fds.eventFd();
        io.files.write(source.eventControl, `${this.#fd} ${fd}`);
      } catch (error) {
        this.close();
        throw error;
      } finally {
        io.fds.close(fd);
      }
      io.fds.watch(this.#fd, () => this.#notified());
    } else {
      this.#fd = fd;
      io.fds.watchPriority(fd, () => this.#notified());
    }
  }

  /** OOM kills that were told of, for one that goes on. */
  get published(): bigint {
    return this.#tally.published;
  }

  /** Looks at the counter once more: call it when init has exited. A late OOM is published before this returns. */
  settle(): void {
    if (this.#fd < 0) return;
    // A notification that waits to be delivered counts now, so that it is not counted again later.
    const waiting = this.#source.version === 1 && this.#io.fds.read(this.#fd, 8) !== null;
    const text = this.#read();
    if (text === undefined) return;
    if (waiting ? this.#tally.notified(text) : this.#tally.settled(text)) this.#onOom();
  }

  close(): void {
    if (this.#fd < 0) return;
    this.#io.fds.unwatch(this.#fd);
    this.#io.fds.close(this.#fd);
    this.#fd = -1;
  }

  #notified(): void {
    if (this.#fd < 0) return;
    // settle() may have taken the notification already.
    if (this.#source.version === 1 && this.#io.fds.read(this.#fd, 8) === null) return;
    const text = this.#rearm();
    // Removing a cgroup wakes its watchers too.
    if (text === undefined) this.close();
    else if (this.#tally.notified(text)) this.#onOom();
  }

  /** v2: a poll reports changes since the file was last read from its start, which a fresh descriptor does. */
  #rearm(): string | undefined {
    if (this.#source.version === 1) return this.#read();
    const io = this.#io;
    io.fds.unwatch(this.#fd);
    io.fds.close(this.#fd);
    this.#fd = -1;
    try {
      const { fd, text } = this.#open();
      this.#fd = fd;
      io.fds.watchPriority(fd, () => this.#notified());
      return text;
    } catch {
      return undefined;
    }
  }

  #read(): string | undefined {
    try {
      const { fd, text } = this.#open();
      this.#io.fds.close(fd);
      return text;
    } catch {
      return undefined;
    }
  }

  #open(): { fd: number; text: string } {
    const { fds, text } = this.#io;
    const fd = fds.openRead(this.#source.counter);
    try {
      return { fd, text: text.decode(fds.read(fd, COUNTER_MAX) ?? new Uint8Array()) };
    } catch (error) {
      fds.close(fd);
      throw error;
    }
  }
}
