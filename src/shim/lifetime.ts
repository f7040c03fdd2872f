// When a shim may go by itself. A daemon that died between `start` and Create, or that lost a Delete or Shutdown, must not leave a shim
// behind (containerd issues 12344, 7496, 6860). Used by serve.ts.
import type { Clock, Timer } from "../platform/platform.ts";

/** How long a shim without containers waits for one, in ms: with nobody connected, and with a client that may yet send a Create. */
const ALONE = 10_000;
const CONNECTED = 60_000;

export class Lifetime {
  readonly #clock: Clock;
  readonly #leave: () => void;
  #containers = 0;
  #connections = 0;
  #timer: Timer | undefined;

  /** Calls `leave` once the shim has been without containers for too long. */
  constructor(clock: Clock, leave: () => void) {
    this.#clock = clock;
    this.#leave = leave;
    this.#check();
  }

  containersChanged(count: number): void {
    this.#containers = count;
    this.#check();
  }

  connectionsChanged(count: number): void {
    this.#connections = count;
    this.#check();
  }

  #check(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#containers > 0) return;
    this.#timer = this.#clock.after(this.#connections > 0 ? CONNECTED : ALONE, this.#leave);
  }
}
