// When a shim may go by itself. A daemon that died between `start` and Create, or that lost a Delete or Shutdown, must not leave a shim behind (containerd
// issues 12344, 7496, 6860).
import type { Clock, Timer } from "../platform/platform.ts";

/**
 * How long a shim without containers waits for one, in ms, counted from when it became empty. A shim that has had one is done with the last:
 * its daemon says so by Shutdown, unless it died in between or its successor knows nothing of it.
 */
const FIRST_WAIT = { alone: 10_000, connected: 60_000 };
const LAST_WAIT = { alone: 1_000, connected: 5_000 };
/** How long a connection that ended keeps the shim, in ms: a `start` asks whether somebody is there, and its daemon comes a moment later. */
const AFTER_CONNECTION = 1_000;
/** The end of all that, in ms: whoever looks in again and again keeps nobody for ever. */
const AT_MOST = 60_000;

export class Lifetime {
  readonly #clock: Clock;
  readonly #leave: () => void;
  #wait = FIRST_WAIT;
  #containers = 0;
  #connections = 0;
  #emptySince: number;
  #lastConnection = 0;
  #timer: Timer | undefined;

  /** Calls `leave` once the shim has been without containers for too long. */
  constructor(clock: Clock, leave: () => void) {
    this.#clock = clock;
    this.#leave = leave;
    this.#emptySince = clock.monotonicMs();
    this.#check();
  }

  containersChanged(count: number): void {
    this.#containers = count;
    this.#wait = LAST_WAIT;
    this.#emptySince = this.#clock.monotonicMs();
    this.#check();
  }

  connectionsChanged(count: number): void {
    this.#connections = count;
    this.#lastConnection = this.#clock.monotonicMs();
    this.#check();
  }

  #check(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#containers > 0) return;
    const alone = Math.max(this.#emptySince + this.#wait.alone, this.#lastConnection + AFTER_CONNECTION);
    const until = this.#connections > 0 ? this.#emptySince + this.#wait.connected : alone;
    const at = Math.min(until, this.#emptySince + AT_MOST);
    this.#timer = this.#clock.after(Math.max(0, at - this.#clock.monotonicMs()), this.#leave);
  }
}
