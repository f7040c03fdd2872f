// One output stream of a process on its way to where the daemon wants it.

import type { OutputPolicy } from "../api/output-policy.ts";
import type { Timer } from "../platform/platform.ts";
import { Drop } from "./drop.ts";
import type { Overflow, OverflowFigures, OverflowOwner } from "./overflow.ts";
import type { OutputRecord } from "./records.ts";
import { Spill } from "./spill.ts";
import type { StdioContext } from "./stdio.ts";

/** How often a finished stream looks whether its last bytes have been read, in ms: soon again while they are, and less and less often while they are not. */
const LINGER_FIRST = 1;
const LINGER_OFTEN = 32;
const LINGER_MOST = 2000;
/** How soon a stream is looked at again that still moves after its process's end, in ms. */
const LOOK_AGAIN = 50;
/** How often a terminal that nobody holds is looked at, in ms. */
const REVIVE_FIRST = 50;
const REVIVE_MOST = 2000;

/** What an output is written to. */
export type Sink =
  | { readonly kind: "none" }
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "fifo"; readonly path: string }
  /** A pipe's write end, whose reader may end; `close` is called once when nothing more will be written. */
  | { readonly kind: "pipe"; readonly fd: number; readonly close: () => void; readonly broken: () => void };

export interface Source {
  readonly fd: number;
  readonly isTerminal: boolean;
  /** How long nothing must have come, once the process has ended, for the end of the stream: somebody else may hold the other side for ever. */
  readonly quietMs: number;
}

/**
 * Moves everything from a source (a pipe or a terminal, owned from start() on) to its sink, until the end. The writer is never blocked
 * by a failing sink, and never gets SIGPIPE: of a fifo both ends are held, and what a file or a logger does not take is dropped.
 */
export class Output {
  /** Settles when all has been handed over and read, or nobody is there to read it, or close() was called. */
  readonly done: Promise<void>;
  readonly #platform: StdioContext["platform"];
  readonly #sink: Sink;
  readonly #changed: () => void;
  /** What becomes of what the sink has no room for; undefined: it waits. A file always has room, or refuses. */
  #overflow: Overflow | undefined;
  /** The sink has failed: all that still comes goes nowhere. */
  #isBroken = false;
  #source: Source | undefined;
  #sinkFd = -1;
  /** Our own read end of a fifo: as long as it is open the fifo keeps its content, and nobody gets SIGPIPE. */
  #fifoReader = -1;
  #relay: number | undefined;
  #settle: () => void = () => {};
  #timer: Timer | undefined;
  #processEndedAt: number | undefined;
  #isFinishing = false;
  /** Bytes in the fifo of a finished stream when it was last looked at. */
  #unread = 0;
  #reviveAfter = REVIVE_FIRST;

  /** Opens the sink. Throws a SystemError that names the path, with nothing left open, if that fails. With `kept` it is open: an earlier shim's. */
  constructor(context: StdioContext, sink: Sink, policy: OutputPolicy, kept?: OutputRecord) {
    this.#platform = context.platform;
    this.#sink = sink;
    this.#changed = context.changed;
    this.done = new Promise((resolve) => {
      this.#settle = resolve;
    });
    if (kept !== undefined) {
      this.#sinkFd = kept.sink;
      this.#fifoReader = kept.reader;
      this.#isBroken = kept.broken;
      if (!kept.broken && (sink.kind === "fifo" || sink.kind === "pipe")) {
        this.#overflow = openOverflow(
          context,
          policy,
          { sinkFailed: () => this.#writeFailed() },
          kept.waiting,
        );
      }
      return;
    }
    try {
      this.#open();
      if (sink.kind === "fifo" || sink.kind === "pipe") {
        this.#overflow = openOverflow(context, policy, { sinkFailed: () => this.#writeFailed() });
      }
    } catch (error) {
      this.#closeSink();
      throw error;
    }
  }

  record(uri: string): OutputRecord {
    return {
      uri,
      source: this.#source?.fd ?? -1,
      sink: this.#sinkFd,
      reader: this.#fifoReader,
      broken: this.#isBroken,
      waiting: this.#overflow?.record?.(),
    };
  }

  /** Goes on where an earlier shim's output was: `source` is undefined if it had come to its end. */
  resume(source: Source | undefined): void {
    if (source !== undefined) this.start(source);
    else if (this.#overflow?.waits) {
      this.#overflow.resume?.(this.#sinkFd);
      this.#finished();
    } else {
      if (this.#sinkFd >= 0) this.#closeReader();
      this.#lingerUntilRead(LINGER_FIRST);
    }
  }

  /** Begins to move bytes. */
  start(source: Source): void {
    this.#source = source;
    this.#startRelay();
  }

  /** From now on a terminal that nobody holds has come to its end. */
  processEnded(): void {
    this.#processEndedAt = this.#now();
    if (this.#relay !== undefined || this.#source === undefined) return;
    // Nobody held the terminal at the end; but something may have been written since it was last looked at.
    this.#timer?.cancel();
    this.#startRelay();
  }

  /** To be called once the process has ended: the stream ends when nothing has come for a while, whoever still holds its other side. */
  finishWhenQuiet(): void {
    if (this.#isFinishing) return;
    this.#isFinishing = true;
    this.#finishIfQuiet();
  }

  /** Changes as long as anything moves. */
  progress(): bigint | undefined {
    const overflow = this.#overflow;
    if (this.#relay === undefined && overflow?.waits !== true) return undefined;
    const moved = this.#relay === undefined ? 0n : this.#platform.relays.state(this.#relay).moved;
    return moved + (overflow?.replayed ?? 0n);
  }

  /** undefined if the policy is to wait. */
  figures(): OverflowFigures | undefined {
    return this.#overflow?.figures();
  }

  /** Ends the relay where it stands and closes everything. */
  close(): void {
    this.#stopRelay();
    this.#closeSource();
    this.#timer?.cancel();
    this.#closeSink();
    this.#settle();
  }

  #now(): number {
    return this.#platform.clock.monotonicMs();
  }

  #open(): void {
    const { fds, files } = this.#platform;
    const sink = this.#sink;
    switch (sink.kind) {
      case "none":
        this.#sinkFd = fds.openWrite("/dev/null");
        return;
      case "file": {
        const parent = sink.path.slice(0, sink.path.lastIndexOf("/"));
        if (parent !== "") files.makeDirectories(parent, 0o755);
        this.#sinkFd = fds.openAppend(sink.path);
        return;
      }
      case "fifo":
        this.#fifoReader = fds.openRead(sink.path);
        this.#sinkFd = fds.openWrite(sink.path);
        return;
      case "pipe":
        this.#sinkFd = sink.fd;
    }
  }

  #startRelay(): void {
    if (this.#source === undefined) return;
    const overflow = this.#isBroken ? undefined : this.#overflow;
    this.#relay = this.#platform.relays.start(
      this.#source.fd,
      this.#sinkFd,
      (why, _code, moved) => {
        this.#relay = undefined;
        overflow?.ended(moved);
        if (why === "write") this.#writeFailed();
        else this.#sourceEnded();
      },
      overflow &&
        ((code) => {
          if (!overflow.stuck(code)) this.#writeFailed();
        }),
    );
    overflow?.begin(this.#relay, this.#sinkFd);
  }

  /** A full disk may have room again later: the file is kept and what it refused is lost. Of anything else nothing more is expected. */
  #writeFailed(): void {
    this.#stopRelay();
    if (this.#sink.kind !== "file") {
      this.#isBroken = true;
      if (this.#sink.kind === "pipe") this.#sink.broken();
      this.#closeSink();
      try {
        this.#sinkFd = this.#platform.fds.openWrite("/dev/null");
      } catch {
        // No descriptor is free. The writer waits until one is.
        this.#timer = this.#platform.clock.after(LOOK_AGAIN, () => this.#writeFailed());
        return;
      }
      this.#changed();
    }
    if (this.#source === undefined) this.#finished();
    else this.#startRelay();
  }

  /** A terminal says so too while nobody holds its other side; its process may open it again. */
  #sourceEnded(): void {
    if (!this.#source?.isTerminal || this.#processEndedAt !== undefined) {
      this.#finished();
      return;
    }
    this.#timer = this.#platform.clock.after(this.#reviveAfter, () => this.#startRelay());
    this.#reviveAfter = Math.min(this.#reviveAfter * 2, REVIVE_MOST);
  }

  #finishIfQuiet(): void {
    if (this.#relay === undefined || this.#source === undefined) return;
    const { fd, quietMs } = this.#source;
    const { blocked, idleMs } = this.#platform.relays.state(this.#relay);
    const sinceEnd = this.#now() - (this.#processEndedAt ?? this.#now());
    const rest = quietMs - Math.min(idleMs, sinceEnd);
    const isEmpty = !blocked && this.#platform.fds.readable(fd) === 0;
    if (isEmpty && rest <= 0) {
      this.#stopRelay();
      this.#finished();
      return;
    }
    const wait = isEmpty ? rest : LOOK_AGAIN;
    this.#timer = this.#platform.clock.after(wait, () => this.#finishIfQuiet());
  }

  #finished(): void {
    this.#timer?.cancel();
    const { keeping } = this.#platform;
    // One by one they would be written down one by one, while the container's exit waits to be told.
    if (keeping.asOne(() => this.#closeEnded())) this.#overflow?.whenEmpty(() => this.#finished());
    else if (this.#sinkFd >= 0) this.#lingerUntilRead(LINGER_FIRST);
    else this.#settle();
  }

  /** What is open for an output that has come to its end; of a fifo with unread bytes the write end stays. True if something waits for the sink still. */
  #closeEnded(): boolean {
    const isFifo = this.#fifoReader >= 0;
    this.#closeSource();
    if (this.#overflow?.waits) return true;
    this.#overflow?.close();
    this.#closeReader();
    if (!isFifo || this.#sinkFd < 0 || this.#platform.fds.readable(this.#sinkFd) === 0) this.#closeSink();
    return false;
  }

  /**
   * A fifo drops its content when nobody holds it, so it is held as long as there are unread bytes: the daemon that comes back finds the last
   * lines, and one that goes in the middle of them leaves the rest. A reader that is there is waited for: clients of containerd 1.7 and newer
   * close their end as soon as Delete has answered (containerd 8334). No event tells of readers: hence the timer.
   */
  #lingerUntilRead(ms: number): void {
    const held = Math.max(this.#sinkFd, this.#fifoReader);
    if (held < 0) {
      this.#settle();
      return;
    }
    const { fds, clock } = this.#platform;
    const unread = fds.readable(held);
    if (unread === 0) {
      this.#closeSink();
      this.#settle();
      return;
    }
    const wait = unread < this.#unread ? LINGER_FIRST : ms;
    this.#unread = unread;
    try {
      if (ms > LINGER_OFTEN) this.#holdRightEnd();
    } catch {
      // No descriptor is free: what is held stays so.
    }
    if (this.#sinkFd >= 0 && fds.peerClosed(this.#sinkFd)) this.#settle();
    this.#timer = clock.after(wait, () => this.#lingerUntilRead(Math.min(wait * 2, LINGER_MOST)));
  }

  /** The write end while nobody reads, or whoever opens the fifo would wait for a writer; the read end while somebody does, who must find the end. */
  #holdRightEnd(): void {
    const { fds } = this.#platform;
    if (this.#sinkFd < 0) {
      this.#sinkFd = fds.openWrite(`/proc/self/fd/${this.#fifoReader}`);
      this.#closeReader();
    }
    if (fds.peerClosed(this.#sinkFd)) return;
    const fd = this.#sinkFd;
    this.#fifoReader = fds.openRead(`/proc/self/fd/${fd}`);
    this.#sinkFd = -1;
    this.#changed();
    fds.close(fd);
  }

  #stopRelay(): void {
    if (this.#relay === undefined) return;
    const { relays } = this.#platform;
    this.#overflow?.ended(relays.state(this.#relay).moved);
    relays.stop(this.#relay);
    this.#relay = undefined;
  }

  #closeSource(): void {
    if (this.#source === undefined) return;
    const { fd } = this.#source;
    this.#source = undefined;
    this.#changed();
    this.#platform.fds.close(fd);
  }

  #closeSink(): void {
    this.#overflow?.close();
    const fd = this.#sinkFd;
    this.#sinkFd = -1;
    if (fd >= 0) {
      this.#changed();
      if (this.#sink.kind === "pipe" && fd === this.#sink.fd) this.#sink.close();
      else this.#platform.fds.close(fd);
    }
    this.#closeReader();
  }

  #closeReader(): void {
    const fd = this.#fifoReader;
    if (fd < 0) return;
    this.#fifoReader = -1;
    this.#changed();
    this.#platform.fds.close(fd);
  }
}

/** undefined where there is nothing to do: the policy is to wait. */
function openOverflow(
  context: StdioContext,
  policy: OutputPolicy,
  owner: OverflowOwner,
  waiting?: OutputRecord["waiting"],
): Overflow | undefined {
  switch (policy.kind) {
    case "block":
      return undefined;
    case "drop":
      return new Drop(context.platform);
    case "spill":
      return new Spill(context, policy.limit, owner, waiting);
  }
}
