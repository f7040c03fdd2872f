// A process's stdin on its way from the daemon's fifo.
import type { Platform, Timer } from "../platform/platform.ts";
import type { InputRecord } from "./records.ts";
import { parseUri } from "./uri.ts";

/** How long a client may take to open its end, where one that never comes has closed it already, in ms. */
const OPEN_TIMEOUT = 2_000;

/** Called once when no more input will come: the fifo's writers are gone (after closeInput), or the process does not read any more. */
export type InputEnd = () => void;

/** A fifo of the daemon's. The shim holds a write end of its own, so that a daemon that goes away is no end of file; closeInput gives it up (CloseIO). */
export class Input {
  readonly #platform: Platform;
  readonly #path: string;
  readonly #changed: () => void;
  #source = -1;
  #ownWriter = -1;
  #unopened: Timer | undefined;
  #relay: number | undefined;

  /** Throws a SystemError that names the path if the fifo cannot be opened. Opening never waits for a writer (containerd issue 2551). */
  constructor(platform: Platform, uri: string, changed: () => void = () => {}, kept?: InputRecord) {
    this.#platform = platform;
    this.#changed = changed;
    const { scheme, path } = parseUri(uri);
    if (scheme !== "" && scheme !== "fifo") throw new Error(`unknown STDIO scheme ${scheme} in ${uri}`);
    this.#path = path;
    if (kept !== undefined) {
      this.#source = kept.source;
      this.#ownWriter = kept.writer;
      return;
    }
    this.#source = platform.fds.openRead(path);
    try {
      if (platform.files.stat(path)?.kind === "fifo") this.#ownWriter = platform.fds.openWrite(path);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  record(): InputRecord {
    return { source: this.#source, writer: this.#ownWriter, mayBeUnopened: this.#unopened !== undefined };
  }

  /** Moves everything to `sink`, which stays the caller's. Throws if it cannot. */
  start(sink: number, end: InputEnd): void {
    this.#relay = this.#platform.relays.start(this.#source, sink, () => {
      this.#relay = undefined;
      this.close();
      end();
    });
  }

  /**
   * Ends the input if nobody has it open for writing when some time has passed, and nothing ever came. A client whose input is empty may close
   * its end before there is a process, and never ask for CloseIO (ctr; nerdctl issue 5029). Only for what nobody attaches to later.
   */
  endIfNeverOpened(sink: number): void {
    this.#unopened = this.#platform.clock.after(OPEN_TIMEOUT, () => {
      this.#unopened = undefined;
      if (this.#relay === undefined || this.#ownWriter < 0) return;
      if (this.#platform.relays.state(this.#relay).moved > 0n) return;
      const { fds } = this.#platform;
      // Without our own writer an empty read tells whether there is any.
      this.closeInput();
      const bytes = fds.read(this.#source, 1);
      if (bytes?.length === 0) return;
      if (bytes !== null) fds.write(sink, bytes);
      this.#ownWriter = fds.openWrite(this.#path);
      this.#changed();
    });
  }

  /** From now on the input ends when its last writer closes. */
  closeInput(): void {
    if (this.#ownWriter < 0) return;
    const fd = this.#ownWriter;
    this.#ownWriter = -1;
    this.#changed();
    this.#platform.fds.close(fd);
  }

  close(): void {
    this.#unopened?.cancel();
    if (this.#relay !== undefined) this.#platform.relays.stop(this.#relay);
    this.#relay = undefined;
    this.closeInput();
    if (this.#source < 0) return;
    const fd = this.#source;
    this.#source = -1;
    this.#changed();
    this.#platform.fds.close(fd);
  }
}
