// Who exited, and how. Children that somebody claimed are watched and reaped through their pidfd; orphans that the kernel gave to us as
// subreaper are swept only when no claim can be on its way. Used by src/runc and src/task.
import {
  type Exit,
  isSystemError,
  type Platform,
  type SpawnRequest,
  type Timer,
} from "../platform/platform.ts";

/** How long overlapping holds may put the sweep off, in ms. */
const SWEEP_AT_LATEST = 1000;
/** How many exits of orphans are remembered while holds overlap: more than pids that one start can be about, and bounded whatever a container does. */
const MAX_REMEMBERED = 1024;

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
  /** The holds that are out, by number, the oldest first. */
  readonly #holds = new Set<number>();
  #holdCount = 0;
  #overdue: Timer | undefined;
  /** Orphans that an overdue sweep reaped, with the newest hold that was out then: only that one and older ones may ask for them. */
  readonly #swept = new Map<number, { exit: Exit; hold: number }>();

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
    const swept = this.#swept.get(pid);
    this.#swept.delete(pid);
    // The number may be somebody else's by now: a child of ours that nobody has claimed is the one that was meant.
    if (swept !== undefined && (this.#claims.has(pid) || !this.#isChild(pid))) return deadChild(swept.exit);
    const claimed = this.#claims.get(pid);
    if (claimed !== undefined) return claimed;
    try {
      return this.#watch(pid, this.#platform.processes.openPidfd(pid));
    } catch (error) {
      if (!isSystemError(error, "ESRCH")) throw error;
      return deadChild({ pid, status: 255, signal: 0 });
    }
  }

  /** Puts the sweep of orphans off until the returned function is called. */
  hold(): () => void {
    const hold = ++this.#holdCount;
    this.#holds.add(hold);
    this.#overdue ??= this.#platform.clock.after(SWEEP_AT_LATEST, () => this.#sweepOverdue());
    return () => {
      if (!this.#holds.delete(hold)) return;
      this.#forgetSwept();
      if (this.#holds.size > 0) return;
      this.#overdue?.cancel();
      this.#overdue = undefined;
      this.#sweep();
    };
  }

  /** To be called on SIGCHLD. */
  childChanged(): void {
    if (this.#holds.size === 0) this.#sweep();
  }

  /** How many exits of orphans are kept for claims that may come. */
  get remembered(): number {
    return this.#swept.size;
  }

  /** Drops what no hold that is out can ask for, and what is too much. Entries stand in the order of their holds. */
  #forgetSwept(): void {
    const [oldest = Number.POSITIVE_INFINITY] = this.#holds;
    for (const [pid, { hold }] of this.#swept) {
      if (hold >= oldest && this.#swept.size <= MAX_REMEMBERED) return;
      this.#swept.delete(pid);
    }
  }

  #isChild(pid: number): boolean {
    try {
      const stat = this.#platform.files.read(`/proc/${pid}/stat`, 4096);
      // "pid (name) state parent …", and the name may hold anything.
      const [, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return Number(parent) === this.#platform.self.pid();
    } catch {
      return false;
    }
  }

  #sweepOverdue(): void {
    this.#sweep();
    this.#overdue = this.#platform.clock.after(SWEEP_AT_LATEST, () => this.#sweepOverdue());
  }

  #sweep(): void {
    for (let exit = this.#reapAny(); exit !== null; exit = this.#reapAny()) {
      const claim = this.#claims.get(exit.pid);
      if (claim !== undefined) this.#settle(claim, exit);
      else if (this.#holds.size > 0) {
        // Deleted first, so that it stands at its place in the order.
        this.#swept.delete(exit.pid);
        this.#swept.set(exit.pid, { exit, hold: this.#holdCount });
        this.#forgetSwept();
      }
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
