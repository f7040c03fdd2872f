// One output stream of a process on its way to where the daemon wants it. Used by pipes.ts and console.ts.
import type { Platform, Timer } from "../platform/platform.ts";
import type { OutputRecord } from "./stdio.ts";

/** How often a finished stream looks whether a reader has come for its last bytes, in ms. */
const LINGER_FIRST = 50;
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
  /** Settles when all has been handed over, or close() was called. */
  readonly done: Promise<void>;
  readonly #platform: Platform;
  readonly #sink: Sink;
  readonly #changed: () => void;
  #source: Source | undefined;
  #sinkFd = -1;
  /** Our own read end of a fifo: as long as it is open the fifo keeps its content, and nobody gets SIGPIPE. */
  #fifoReader = -1;
  #relay: number | undefined;
  #settle: () => void = () => {};
  #timer: Timer | undefined;
  #processEndedAt: number | undefined;
  #isFinishing = false;
  #reviveAfter = REVIVE_FIRST;

  /** Opens the sink. Throws a SystemError that names the path, with nothing left open, if that fails. `changed` is called when what record() tells has changed. */
  constructor(platform: Platform, sink: Sink, changed: () => void = () => {}, kept?: OutputRecord) {
    this.#platform = platform;
    this.#sink = sink;
    this.#changed = changed;
    this.done = new Promise((resolve) => {
      this.#settle = resolve;
    });
    if (kept !== undefined) {
      this.#sinkFd = kept.sink;
      this.#fifoReader = kept.reader;
      return;
    }
    try {
      this.#open();
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
      broken: this.#sink.kind === "pipe" && this.#sinkFd !== this.#sink.fd,
    };
  }

  /** Goes on where an earlier shim's output was: `source` is undefined if it had come to its end. */
  resume(source: Source | undefined): void {
    if (source !== undefined) this.start(source);
    else {
      this.#closeReader();
      this.#lingerUntilRead(LINGER_FIRST);
      this.#settle();
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
    return this.#relay === undefined ? undefined : this.#platform.relays.state(this.#relay).moved;
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
    this.#relay = this.#platform.relays.start(this.#source.fd, this.#sinkFd, (why) => {
      this.#relay = undefined;
      if (why === "write") this.#writeFailed();
      else this.#sourceEnded();
    });
  }

  /** A full disk may have room again later: the file is kept and what it refused is lost. Of anything else nothing more is expected. */
  #writeFailed(): void {
    if (this.#sink.kind !== "file") {
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
    this.#startRelay();
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
    this.#closeSource();
    if (this.#fifoReader >= 0) {
      this.#closeReader();
      this.#lingerUntilRead(LINGER_FIRST);
    } else {
      this.#closeSink();
    }
    this.#settle();
  }

  /**
   * A fifo drops its content when nobody holds it, so the write end stays open while unread bytes have no reader: the daemon that comes
   * back finds the last lines. A reader that does come gets its end of file from us, and no event tells of it: hence the timer.
   */
  #lingerUntilRead(ms: number): void {
    if (this.#sinkFd < 0) return;
    const { fds, clock } = this.#platform;
    if (fds.readable(this.#sinkFd) === 0 || !fds.peerClosed(this.#sinkFd)) {
      this.#closeSink();
      return;
    }
    this.#timer = clock.after(ms, () => this.#lingerUntilRead(Math.min(ms * 2, LINGER_MOST)));
  }

  #stopRelay(): void {
    if (this.#relay === undefined) return;
    this.#platform.relays.stop(this.#relay);
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
    const fd = this.#sinkFd;
    this.#sinkFd = -1;
    if (fd >= 0) this.#changed();
    if (this.#sink.kind === "pipe" && fd === this.#sink.fd) this.#sink.close();
    else if (fd >= 0) this.#platform.fds.close(fd);
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
