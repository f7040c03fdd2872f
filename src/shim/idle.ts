// Gives the shim's memory back between bursts of calls.
import type { Platform, Timer } from "../platform/platform.ts";

/** How long nothing must have happened before memory is given back, in ms. */
const TRIM_AFTER = 300;

/** A burst of calls leaves a heap several times the size that an idle shim needs. */
export class Idle {
  readonly #platform: Platform;
  #timer: Timer | undefined;

  constructor(platform: Platform) {
    this.#platform = platform;
  }

  touch(): void {
    this.#timer?.cancel();
    this.#timer = this.#platform.clock.after(TRIM_AFTER, () => {
      this.#timer = undefined;
      this.#platform.self.trimMemory();
    });
  }
}
