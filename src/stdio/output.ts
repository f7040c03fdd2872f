// One output stream of a process on its way to where the daemon wants it. Used by pipes.ts and console.ts.
import type { Platform, Timer } from "../platform/platform.ts";

/** How often a finished stream looks whether a reader has come for its last bytes, in ms. */
const LINGER_FIRST = 50;
const LINGER_MOST = 2000;

/** Where an output goes. */
export type Target =
  | { readonly kind: "none" }
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "fifo"; readonly path: string };

/**
 * What a stdout or stderr URI means (docs/shim-protocol.md). A path without a scheme is taken for what is there: a fifo, or a file to append to.
 * Throws if the scheme is not known, or a plain path names nothing.
 */
export function parseTarget(platform: Platform, uri: string): Target {
  if (uri === "") return { kind: "none" };
  const colon = uri.indexOf("://");
  const scheme = colon < 0 ? "" : uri.slice(0, colon);
  const path = colon < 0 ? uri : uri.slice(colon + 3);
  if (scheme === "file") return { kind: "file", path: decodePercent(path) };
  if (scheme !== "" && scheme !== "fifo") throw new Error(`unknown STDIO scheme ${scheme} in ${uri}`);
  const stat = platform.files.stat(path);
  if (stat === null) throw new Error(`open ${path}: no such file or directory`);
  return { kind: stat.kind === "fifo" ? "fifo" : "file", path };
}

function decodePercent(path: string): string {
  return path.includes("%") ? decodeURIComponent(path) : path;
}

/**
 * Moves everything from `source` (a pipe or a terminal, owned from now on) to its target, until the end. The writer is never blocked
 * by a failing target, and never gets SIGPIPE: of a fifo both ends are held, and what a file does not take is dropped.
 */
export class Output {
  /** Settles when all has been handed over, or close() was called. */
  readonly drained: Promise<void>;
  readonly #platform: Platform;
  readonly #source: number;
  readonly #target: Target;
  #sink = -1;
  /** Our own read end of a fifo: as long as it is open the fifo keeps its content, and nobody gets SIGPIPE. */
  #fifoReader = -1;
  #relay: number | undefined;
  #settle: () => void = () => {};
  #linger: Timer | undefined;

  /** Throws a SystemError that names the path if the target cannot be opened; `source` is left alone then. */
  constructor(platform: Platform, source: number, target: Target) {
    this.#platform = platform;
    this.#source = source;
    this.#target = target;
    this.drained = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#open();
    this.#start();
  }

  /** Ends the relay where it stands and closes everything. */
  close(): void {
    this.#stopRelay();
    this.#closeSource();
    this.#linger?.cancel();
    this.#closeTarget();
    this.#settle();
  }

  #open(): void {
    const { fds, files } = this.#platform;
    switch (this.#target.kind) {
      case "none":
        this.#sink = fds.openWrite("/dev/null");
        return;
      case "file": {
        const parent = this.#target.path.slice(0, this.#target.path.lastIndexOf("/"));
        if (parent !== "") files.makeDirectories(parent, 0o755);
        this.#sink = fds.openAppend(this.#target.path);
        return;
      }
      case "fifo":
        this.#fifoReader = fds.openRead(this.#target.path);
        this.#sink = fds.openWrite(this.#target.path);
    }
  }

  #start(): void {
    this.#relay = this.#platform.relays.start(this.#source, this.#sink, (why) => {
      this.#relay = undefined;
      if (why === "write") this.#writeFailed();
      else this.#finished();
    });
  }

  /** A full disk may have room again later: the file is kept and what it refused is lost. Of anything else nothing more is expected. */
  #writeFailed(): void {
    if (this.#target.kind !== "file") {
      this.#closeTarget();
      this.#sink = this.#platform.fds.openWrite("/dev/null");
    }
    this.#start();
  }

  #finished(): void {
    this.#closeSource();
    if (this.#fifoReader >= 0) {
      this.#platform.fds.close(this.#fifoReader);
      this.#fifoReader = -1;
      this.#lingerUntilRead(LINGER_FIRST);
    } else {
      this.#closeTarget();
    }
    this.#settle();
  }

  /**
   * A fifo drops its content when nobody holds it, so the write end stays open while unread bytes have no reader: the daemon that comes
   * back finds the last lines. A reader that does come gets its end of file from us, and no event tells of it: hence the timer.
   */
  #lingerUntilRead(ms: number): void {
    if (this.#sink < 0) return;
    const { fds, clock } = this.#platform;
    if (fds.readable(this.#sink) === 0 || !fds.peerClosed(this.#sink)) {
      this.#closeTarget();
      return;
    }
    this.#linger = clock.after(ms, () => this.#lingerUntilRead(Math.min(ms * 2, LINGER_MOST)));
  }

  #stopRelay(): void {
    if (this.#relay === undefined) return;
    this.#platform.relays.stop(this.#relay);
    this.#relay = undefined;
  }

  #sourceOpen = true;

  #closeSource(): void {
    if (!this.#sourceOpen) return;
    this.#sourceOpen = false;
    this.#platform.fds.close(this.#source);
  }

  #closeTarget(): void {
    for (const fd of [this.#sink, this.#fifoReader]) if (fd >= 0) this.#platform.fds.close(fd);
    this.#sink = -1;
    this.#fifoReader = -1;
  }
}
