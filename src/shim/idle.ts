// Gives the shim's memory back between bursts of calls.
import type { Platform } from "../platform/platform.ts";

/** How long nothing must have happened before memory is given back, in ms. */
const TRIM_AFTER = 300;

/** A burst of calls leaves a heap several times the size that an idle shim needs. */
export class Idle {
  readonly #platform: Platform;
  #touchedMs = 0;
  #isTicking = false;

  constructor(platform: Platform) {
    this.#platform = platform;
  }

  /** Something has happened. */
  touch(): void {
    this.#touchedMs = this.#platform.clock.monotonicMs();
    if (!this.#isTicking) this.#lookAgain(TRIM_AFTER);
  }

  /** One timer for a burst, however many calls it has. */
  #lookAgain(ms: number): void {
    this.#isTicking = true;
    this.#platform.clock.after(ms, () => {
      const left = this.#touchedMs + TRIM_AFTER - this.#platform.clock.monotonicMs();
      if (left > 0) {
        this.#lookAgain(Math.ceil(left));
        return;
      }
      this.#isTicking = false;
      this.#platform.self.trimMemory();
    });
  }
}
