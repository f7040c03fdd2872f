// When a shim may go by itself. A daemon that died between `start` and Create, or that lost a Delete or Shutdown, must not leave a shim
// behind (containerd issues 12344, 7496, 6860). Used by serve.ts.
import type { Clock, Timer } from "../platform/platform.ts";

/**
 * How long a shim without containers waits for one, in ms. A shim that has had one is done with the last: its daemon says so by Shutdown,
 * unless it died in between or its successor knows nothing of it.
 */
const FIRST_WAIT = { alone: 10_000, connected: 60_000 };
const LAST_WAIT = { alone: 1_000, connected: 5_000 };

export class Lifetime {
  readonly #clock: Clock;
  readonly #leave: () => void;
  #wait = FIRST_WAIT;
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
    this.#wait = LAST_WAIT;
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
    this.#timer = this.#clock.after(
      this.#connections > 0 ? this.#wait.connected : this.#wait.alone,
      this.#leave,
    );
  }
}
