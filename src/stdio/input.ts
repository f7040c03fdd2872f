// A process's stdin on its way from the daemon's fifo. Used by pipes.ts and console.ts.
import type { Platform } from "../platform/platform.ts";
import { parseUri } from "./uri.ts";

/** Called once when no more input will come: the fifo's writers are gone (after closeInput), or the process does not read any more. */
export type InputEnd = () => void;

/** A fifo of the daemon's. The shim holds a write end of its own, so that a daemon that goes away is no end of file; closeInput gives it up (CloseIO). */
export class Input {
  readonly #platform: Platform;
  #source = -1;
  #ownWriter = -1;
  #relay: number | undefined;

  /** Throws a SystemError that names the path if the fifo cannot be opened. Opening never waits for a writer (containerd issue 2551). */
  constructor(platform: Platform, uri: string) {
    this.#platform = platform;
    const { scheme, path } = parseUri(uri);
    if (scheme !== "" && scheme !== "fifo") throw new Error(`unknown STDIO scheme ${scheme} in ${uri}`);
    this.#source = platform.fds.openRead(path);
    try {
      if (platform.files.stat(path)?.kind === "fifo") this.#ownWriter = platform.fds.openWrite(path);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Moves everything to `sink`, which stays the caller's. Throws if it cannot. */
  start(sink: number, end: InputEnd): void {
    this.#relay = this.#platform.relays.start(this.#source, sink, () => {
      this.#relay = undefined;
      this.close();
      end();
    });
  }

  /** From now on the input ends when its last writer closes. */
  closeInput(): void {
    if (this.#ownWriter < 0) return;
    this.#platform.fds.close(this.#ownWriter);
    this.#ownWriter = -1;
  }

  close(): void {
    if (this.#relay !== undefined) this.#platform.relays.stop(this.#relay);
    this.#relay = undefined;
    this.closeInput();
    if (this.#source >= 0) this.#platform.fds.close(this.#source);
    this.#source = -1;
  }
}
