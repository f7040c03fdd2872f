// A listening unix socket of the native host.
import * as host from "holdfast:host";
import { type ByteStream, isSystemError, type Listener, type SystemError } from "./platform.ts";
import { SocketStream } from "./socket-stream.ts";

/** How long to rest when no connection can be taken, in ms. The ones that wait keep the descriptor readable: looking at it again at once would spin. */
const REST_MS = 250;

export class SocketListener implements Listener {
  readonly #fd: number;
  readonly #accept: (stream: ByteStream) => void;
  readonly #failed: (error: SystemError) => void;
  /** The timer of a rest. */
  #rest: number | undefined;
  /** Whether a failure was reported since the last time that nobody waited. */
  #reported = false;

  constructor(fd: number, accept: (stream: ByteStream) => void, failed: (error: SystemError) => void) {
    this.#fd = fd;
    this.#accept = accept;
    this.#failed = failed;
    this.#watch();
  }

  close(): void {
    if (this.#rest !== undefined) host.clearTimer(this.#rest);
    host.unwatch(this.#fd);
    host.close(this.#fd);
  }

  #watch(): void {
    host.watch(this.#fd, host.READABLE, () => this.#takeAll());
  }

  #takeAll(): void {
    try {
      for (let fd = host.accept(this.#fd); fd >= 0; fd = host.accept(this.#fd)) {
        this.#accept(new SocketStream(fd));
      }
      this.#reported = false;
    } catch (error) {
      if (!isSystemError(error)) throw error;
      this.#takeRest();
      if (this.#reported) return;
      this.#reported = true;
      this.#failed(error);
    }
  }

  #takeRest(): void {
    host.unwatch(this.#fd);
    this.#rest = host.setTimer(REST_MS, () => {
      this.#rest = undefined;
      this.#watch();
    });
  }
}
