// Whether a container's program has begun, whatever the runtime says: a runtime that was killed at its start may have let the program go and not have
// noted that. The next `start` would then wait for ever for a process that waits no more.
import { type Platform, SIGKILL, type Timer } from "../platform/platform.ts";
import type { Child } from "../reaper/reaper.ts";
import type { Runc } from "../runc/runc.ts";

/** How often it is looked whether a runtime waits in vain, in ms; it does if it has been seen twice to. */
const LOOK = 500;
/** How long the process may take from being let go to being the program, in ms, and how often to look. */
const BECOMING = 200;
const BECOMING_CHECK = 10;
/** The kernel's 16 bytes, and a line's end. */
const NAME_LENGTH = 64;

export class Beginning {
  readonly #platform: Platform;
  readonly #runc: Runc;
  readonly #pid: () => number;
  readonly #mayGoOn: boolean;
  /** The process's name while it waits to become the program: the runtime's own. */
  #waitsAs: string | undefined;

  /** `waitsAs` is what an earlier shim has noted. With `mayGoOn` the runtime has work of its own after the program has begun: it is waited for. */
  constructor(
    platform: Platform,
    runc: Runc,
    { pid, mayGoOn, waitsAs }: { pid(): number; mayGoOn: boolean; waitsAs: string | undefined },
  ) {
    this.#platform = platform;
    this.#runc = runc;
    this.#pid = pid;
    this.#mayGoOn = mayGoOn;
    this.#waitsAs = waitsAs;
  }

  get waitsAs(): string | undefined {
    return this.#waitsAs;
  }

  /** To be called when the container is created. */
  note(): void {
    this.#waitsAs = this.#name();
  }

  /** Has the runtime start the program. Rejects if it has not begun. */
  async start(): Promise<void> {
    if (this.#hasBegun()) return this.#runc.forgetStart();
    let watch: Timer | undefined;
    try {
      await this.#runc.start((command) => {
        if (!this.#mayGoOn) watch = this.#endWaiting(command, false);
      });
    } catch (error) {
      if (!(await this.begins())) throw error;
    } finally {
      watch?.cancel();
    }
  }

  /** Whether the program has begun, or does at once, under a runtime that is gone. */
  async begins(): Promise<boolean> {
    const { clock } = this.#platform;
    const deadline = clock.monotonicMs() + BECOMING;
    while (!this.#hasBegun()) {
      if (clock.monotonicMs() > deadline) return false;
      await new Promise<void>((resolve) => clock.after(BECOMING_CHECK, resolve));
    }
    this.#runc.forgetStart();
    return true;
  }

  /** Kills a runtime that goes on though the program has begun. */
  #endWaiting(command: Child, isSuspect: boolean): Timer {
    const { clock } = this.#platform;
    let next: Timer | undefined;
    const first = clock.after(LOOK, () => {
      const hasBegun = this.#hasBegun();
      if (isSuspect && hasBegun) command.kill(SIGKILL);
      else next = this.#endWaiting(command, hasBegun);
    });
    return {
      cancel() {
        first.cancel();
        next?.cancel();
      },
    };
  }

  #hasBegun(): boolean {
    const name = this.#name();
    return this.#waitsAs !== undefined && name !== undefined && name !== this.#waitsAs;
  }

  #name(): string | undefined {
    try {
      return this.#platform.files.read(`/proc/${this.#pid()}/comm`, NAME_LENGTH);
    } catch {
      return undefined;
    }
  }
}
