// Who exited, and how. Children that somebody claimed are watched and reaped through their pidfd; strangers (orphans that the kernel
// gave to us as subreaper) are swept only when no claim can be on its way. Used by src/runc and src/task.
import {
  type Exit,
  isSystemError,
  type Platform,
  type SpawnRequest,
  type Timer,
} from "../platform/platform.ts";

/** How long overlapping holds may put the sweep off, in ms. */
const SWEEP_AT_LATEST = 1000;

/** A claimed child. */
export interface Child {
  readonly pid: number;
  /** Settles when the child has been reaped; never rejects. */
  readonly exited: Promise<Exit>;
  /** Sends a signal; a child that is gone is left alone. */
  kill(signal: number): void;
}

interface Claim extends Child {
  readonly pidfd: number;
  readonly settle: (exit: Exit) => void;
}

/**
 * A pid is only a name while nobody has reaped it. Whoever will learn a pid from a pid file takes a hold first: until it is released
 * an exited process stays a zombie and keeps its pid, so that a claim by pid is always of the right process.
 */
export class Reaper {
  readonly #platform: Platform;
  readonly #claims = new Map<number, Claim>();
  #holds = 0;
  #overdue: Timer | undefined;
  /** Strangers that an overdue sweep reaped while holds were out: a later claim may ask for them. */
  readonly #swept = new Map<number, Exit>();

  constructor(platform: Platform) {
    this.#platform = platform;
  }

  /** Starts a process and claims it. Throws a SystemError if it cannot be started. */
  spawn(request: SpawnRequest): Child {
    const { pid, pidfd } = this.#platform.processes.spawn(request);
    return this.#watch(pid, pidfd);
  }

  /** Claims a process by a pid that was learned under a hold. One that is gone without a trace counts as killed, with status 255. */
  claim(pid: number): Child {
    const gone = this.#swept.get(pid);
    if (gone !== undefined) {
      this.#swept.delete(pid);
      return deadChild(gone);
    }
    const claimed = this.#claims.get(pid);
    if (claimed !== undefined) return claimed;
    try {
      return this.#watch(pid, this.#platform.processes.openPidfd(pid));
    } catch (error) {
      if (!isSystemError(error, "ESRCH")) throw error;
      return deadChild({ pid, status: 255, signal: 0 });
    }
  }

  /** Puts the sweep of strangers off until the returned function is called. */
  hold(): () => void {
    this.#holds++;
    this.#overdue ??= this.#platform.clock.after(SWEEP_AT_LATEST, () => this.#sweepOverdue());
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      if (--this.#holds > 0) return;
      this.#overdue?.cancel();
      this.#overdue = undefined;
      this.#swept.clear();
      this.#sweep();
    };
  }

  /** To be called on SIGCHLD. */
  childChanged(): void {
    if (this.#holds === 0) this.#sweep();
  }

  #sweepOverdue(): void {
    this.#sweep();
    this.#overdue = this.#platform.clock.after(SWEEP_AT_LATEST, () => this.#sweepOverdue());
  }

  #sweep(): void {
    for (let exit = this.#reapAny(); exit !== null; exit = this.#reapAny()) {
      const claim = this.#claims.get(exit.pid);
      if (claim !== undefined) this.#settle(claim, exit);
      else if (this.#holds > 0) this.#swept.set(exit.pid, exit);
    }
  }

  #reapAny(): Exit | null {
    try {
      return this.#platform.processes.reapAny();
    } catch (error) {
      if (isSystemError(error, "ECHILD")) return null;
      throw error;
    }
  }

  #watch(pid: number, pidfd: number): Child {
    const { fds, processes } = this.#platform;
    let settle: (exit: Exit) => void = () => {};
    const exited = new Promise<Exit>((resolve) => {
      settle = resolve;
    });
    const kill = (signal: number): void => {
      // Until it is settled the pidfd is open, and names this process and no other.
      if (this.#claims.get(pid) !== claim) return;
      try {
        processes.killPidfd(pidfd, signal);
      } catch (error) {
        if (!isSystemError(error, "ESRCH")) throw error;
      }
    };
    const claim: Claim = { pid, pidfd, exited, settle, kill };
    this.#claims.set(pid, claim);
    fds.watch(pidfd, () => {
      const exit = this.#reap(claim);
      if (exit !== null) this.#settle(claim, exit);
    });
    return claim;
  }

  #reap(claim: Claim): Exit | null {
    try {
      return this.#platform.processes.reapPidfd(claim.pidfd);
    } catch (error) {
      if (!isSystemError(error, "ECHILD")) throw error;
      return { pid: claim.pid, status: 255, signal: 0 };
    }
  }

  #settle(claim: Claim, exit: Exit): void {
    this.#claims.delete(claim.pid);
    this.#platform.fds.unwatch(claim.pidfd);
    this.#platform.fds.close(claim.pidfd);
    claim.settle(exit);
  }
}

function deadChild(exit: Exit): Child {
  return { pid: exit.pid, exited: Promise.resolve(exit), kill() {} };
}
