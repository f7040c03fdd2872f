// Drops output that its reader does not take, so that the container never waits for it.
import type { Platform } from "../platform/platform.ts";
import type { Overflow, OverflowFigures } from "./overflow.ts";

/** How much may wait for the reader before anything is dropped, in bytes: a pipe's most without privilege. */
const CAPACITY = 1 << 20;

export class Drop implements Overflow {
  readonly #platform: Platform;
  /** Where it is dropped. */
  #nowhere: number;
  #sink = -1;
  #relay: number | undefined;
  /** What the relay had moved when it was turned away from the sink. */
  #turnedAt: bigint | undefined;
  #dropped = 0n;

  constructor(platform: Platform) {
    this.#platform = platform;
    this.#nowhere = platform.fds.openWrite("/dev/null");
  }

  readonly waits = false;
  readonly replayed = 0n;

  begin(relay: number, sink: number): void {
    this.#relay = relay;
    if (sink === this.#sink) return;
    this.#sink = sink;
    try {
      this.#platform.fds.setPipeCapacity(sink, CAPACITY);
    } catch {
      // This user has too much in pipes already: it stays as large as it is.
    }
  }

  stuck(code: string): boolean {
    if (code !== "" || this.#relay === undefined) return false;
    const { fds, relays } = this.#platform;
    this.#turnedAt = relays.state(this.#relay).moved;
    relays.redirect(this.#relay, this.#nowhere);
    fds.watchWritable(this.#sink, () => this.#turnBack());
    return true;
  }

  ended(moved: bigint): void {
    this.#relay = undefined;
    this.#count(moved);
  }

  whenEmpty(then: () => void): void {
    then();
  }

  figures(): OverflowFigures {
    const moved = this.#relay === undefined ? 0n : this.#platform.relays.state(this.#relay).moved;
    const now = this.#turnedAt === undefined ? 0n : moved - this.#turnedAt;
    return { dropped: this.#dropped + now, waiting: 0n };
  }

  close(): void {
    if (this.#nowhere >= 0) this.#platform.fds.close(this.#nowhere);
    this.#nowhere = -1;
  }

  /** There is room, or the sink has failed: the relay will find out. */
  #turnBack(): void {
    const { relays } = this.#platform;
    if (this.#relay === undefined) return;
    this.#count(relays.state(this.#relay).moved);
    relays.redirect(this.#relay, this.#sink);
  }

  #count(moved: bigint): void {
    if (this.#turnedAt === undefined) return;
    this.#platform.fds.unwatch(this.#sink);
    this.#dropped += moved - this.#turnedAt;
    this.#turnedAt = undefined;
  }
}
