// Who exited, and how. Children that somebody claimed are watched and reaped through their pidfd; orphans that the kernel gave to us as subreaper are
// swept only when no claim can be on its way.
import {
  type Exit,
  isSystemError,
  type Platform,
  type SpawnRequest,
  type Timer,
} from "../platform/platform.ts";
import { readProcessStat } from "./process-stat.ts";

/** How long overlapping holds may put the sweep off, in ms. */
const SWEEP_AT_LATEST = 1000;
/** How many exits of orphans are remembered while holds overlap: more than pids that one start can be about, and bounded whatever a container does. */
const MAX_REMEMBERED = 1024;

/** An exit; `at` (realtime, in ns) is there where it was noticed by somebody else before us. With `isUnknown` nobody knows how it ended. */
export type Ended = Exit & { readonly at?: bigint; readonly isUnknown?: boolean };

/** What is told of a process that is gone without a trace. */
export const UNKNOWN_STATUS = 255;
/** How often, and how many times, the kernel is asked how a process ended that somebody else has to reap; in ms. */
const REAPED_CHECK = 20;
const REAPED_CHECKS = 50;

/** For how long an exit may be on its way to us, in ms. */
const SILENCE = 10_000;

/** A claimed child. */
export interface Child {
  readonly pid: number;
  /** By which a successor finds the process again; -1 for one that is gone. */
  readonly pidfd: number;
  /** Settles when the child has ended; never rejects. It is reaped when that is written down. */
  readonly exited: Promise<Ended>;
  /** Sends a signal; a child that is gone is left alone. */
  kill(signal: number): void;
}

interface Claim extends Child {
  readonly settle: (exit: Ended) => void;
}

/**
 * A pid is only a name while nobody has reaped it. Whoever will learn a pid from a pid file takes a hold first: until it is released
 * an exited process stays a zombie and keeps its pid, so that a claim by pid is always of the right process.
 */
export class Reaper {
  readonly #platform: Platform;
  readonly #claims = new Map<number, Claim>();
  /** Processes of an earlier shim, which are the keeper's children now: it hands their exits on. */
  readonly #kept = new Map<number, Claim>();
  /** Claims whose exit is known, and is not written down yet. */
  readonly #ended = new Set<Claim>();
  /** Those of them that a start may be about which has not come to write anything down, with the newest hold that was out when they ended. */
  readonly #unreaped = new Map<Claim, number>();
  /** Claims whose processes had ended at the last look, without a word of it: since when, on the monotonic clock. */
  #overlooked: ReadonlyMap<Claim, number> = new Map();
  /** The holds that are out, by number, the oldest first. */
  readonly #holds = new Set<number>();
  /** How many of the keeper's exits were told of, and not taken yet. */
  #told = 0;
  #holdCount = 0;
  #overdue: Timer | undefined;
  /** Orphans that an overdue sweep reaped, with the newest hold that was out then: only that one and older ones may ask for them. */
  readonly #swept = new Map<number, { exit: Exit; hold: number }>();

  constructor(platform: Platform) {
    this.#platform = platform;
  }

  /** Takes a process over that an earlier shim had claimed, by its pidfd, which is ours from here on; -1 for one whose end is written down. */
  adopt(pid: number, pidfd: number): Child {
    if (pidfd < 0) return deadChild({ pid, status: UNKNOWN_STATUS, signal: 0 });
    const parent = this.#parentOf(pid);
    if (parent === this.#platform.self.pid()) return this.#watch(pid, pidfd);
    // One that is gone without having a parent left may have been handed on already.
    const keeper = this.#platform.keeping.keeper()?.pid ?? 0;
    const isKept = keeper > 0 && (parent === keeper || (parent === undefined && this.#isHandedOn(pid)));
    const claim = this.#newClaim(pid, pidfd, isKept ? this.#kept : this.#claims);
    if (isKept) this.#kept.set(pid, claim);
    else this.#watchOther(claim);
    return claim;
  }

  /** A process of an earlier shim that ended before it could be adopted. */
  gone(ended: Ended): Child {
    return deadChild(ended);
  }

  #isHandedOn(pid: number): boolean {
    const { keeping } = this.#platform;
    for (let place = 0; ; place++) {
      const exit = keeping.exit(place);
      if (exit === null || exit.pid === pid) return exit !== null;
    }
  }

  /** To be called when the keeper says that there are exits, and once all are adopted. */
  takeKept(): void {
    const { keeping, clock } = this.#platform;
    const isScheduled = this.#told > 0;
    for (let exit = keeping.exit(this.#told); exit !== null; exit = keeping.exit(this.#told)) {
      this.#told++;
      const claim = this.#kept.get(exit.pid);
      if (claim === undefined || this.#ended.has(claim)) continue;
      this.#ended.add(claim);
      claim.settle(exit);
    }
    // Not before what follows from them is written down.
    if (!isScheduled && this.#told > 0) clock.after(0, () => this.#releaseKept());
  }

  #releaseKept(): void {
    const { keeping } = this.#platform;
    for (let place = 0; place < this.#told; place++) {
      const claim = this.#kept.get(keeping.exit(place)?.pid ?? 0);
      if (claim !== undefined && this.#ended.has(claim)) this.#release(claim, this.#kept);
    }
    keeping.takeExits(this.#told);
    this.#told = 0;
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
      return deadChild({ pid, status: UNKNOWN_STATUS, signal: 0 });
    }
  }

  /** Whether somebody has claimed the process, and it is not reaped. */
  knows(pid: number): boolean {
    return this.#claims.has(pid) || this.#kept.has(pid);
  }

  /** Puts the sweep of orphans off until the returned function is called. */
  hold(): () => void {
    const hold = ++this.#holdCount;
    this.#holds.add(hold);
    this.#overdue ??= this.#platform.clock.after(SWEEP_AT_LATEST, () => this.#sweepOverdue());
    return () => {
      if (!this.#holds.delete(hold)) return;
      this.#forgetSwept();
      this.#reapReleased();
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

  /**
   * Looks whether claimed processes have ended without our having been told of it: by a keeper that hangs, or by a wake-up that never came. What is found
   * so again a while later is told of then. Returns their pids. To be called from time to time, by whomever.
   */
  findOverlooked(): number[] {
    const now = this.#platform.clock.monotonicMs();
    const suspects = new Map<Claim, number>();
    const found: number[] = [];
    for (const claim of [...this.#claims.values(), ...this.#kept.values()]) {
      const exit = this.#ended.has(claim) ? null : this.#silentExit(claim);
      if (exit === null) continue;
      const since = this.#overlooked.get(claim) ?? now;
      if (now - since < SILENCE) {
        suspects.set(claim, since);
        continue;
      }
      found.push(claim.pid);
      this.#endOverlooked(claim, exit);
    }
    this.#overlooked = suspects;
    return found;
  }

  /** How a process has ended, as far as that can be told without reaping it; null if it lives. */
  #silentExit({ pid, pidfd }: Claim): Exit | null {
    const { processes } = this.#platform;
    try {
      processes.killPidfd(pidfd, 0);
    } catch (error) {
      if (!isSystemError(error, "ESRCH")) throw error;
      return processes.pidfdExit(pidfd) ?? { pid, status: UNKNOWN_STATUS, signal: 0 };
    }
    // It has not been reaped: the number is still its own.
    return this.#zombieExit(pid);
  }

  #endOverlooked(claim: Claim, exit: Exit): void {
    if (this.#claims.get(claim.pid) === claim) {
      this.#end(claim, exit);
      return;
    }
    // A record of it that comes after all is of nobody.
    this.#ended.add(claim);
    claim.settle(exit);
    this.#platform.clock.after(0, () => this.#release(claim, this.#kept));
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
    return this.#parentOf(pid) === this.#platform.self.pid();
  }

  /** undefined if there is no such process. */
  #parentOf(pid: number): number | undefined {
    const [, parent] = readProcessStat(this.#platform, pid);
    return parent === undefined ? undefined : Number(parent);
  }

  /** How a process ended that its parent has not reaped yet. */
  #zombieExit(pid: number): Exit | null {
    const fields = readProcessStat(this.#platform, pid);
    if (fields[0] !== "Z") return null;
    // The last field, as waitpid has it.
    const status = Number(fields.at(-1));
    const signal = status & 0x7f;
    return { pid, status: signal > 0 ? 128 + signal : (status >> 8) & 0xff, signal };
  }

  #sweepOverdue(): void {
    // They stand in front of the orphans.
    for (const claim of this.#unreaped.keys()) this.#reapSoon(claim);
    this.#unreaped.clear();
    this.#sweep();
    this.#overdue = this.#platform.clock.after(SWEEP_AT_LATEST, () => this.#sweepOverdue());
  }

  /** A child that somebody has claimed stays until its exit is written down; the sweep goes on then. */
  #sweep(): void {
    for (let exit = this.#peekAny(); exit !== null; exit = this.#peekAny()) {
      const claim = this.#claims.get(exit.pid);
      if (claim !== undefined) {
        this.#end(claim, exit);
        return;
      }
      this.#platform.processes.reapPid(exit.pid);
      if (this.#holds.size === 0) continue;
      // Deleted first, so that it stands at its place in the order.
      this.#swept.delete(exit.pid);
      this.#swept.set(exit.pid, { exit, hold: this.#holdCount });
      this.#forgetSwept();
    }
  }

  #peekAny(): Exit | null {
    try {
      return this.#platform.processes.reapAny(true);
    } catch (error) {
      if (isSystemError(error, "ECHILD")) return null;
      throw error;
    }
  }

  #newClaim(pid: number, pidfd: number, claims: ReadonlyMap<number, Claim>): Claim {
    const { processes } = this.#platform;
    let settle: (exit: Ended) => void = () => {};
    const exited = new Promise<Ended>((resolve) => {
      settle = resolve;
    });
    const kill = (signal: number): void => {
      // Until it is released the pidfd is open, and names this process and no other.
      if (claims.get(pid) !== claim) return;
      try {
        processes.killPidfd(pidfd, signal);
      } catch (error) {
        if (!isSystemError(error, "ESRCH")) throw error;
      }
    };
    const claim: Claim = { pid, pidfd, exited, settle, kill };
    return claim;
  }

  #watch(pid: number, pidfd: number): Child {
    const claim = this.#newClaim(pid, pidfd, this.#claims);
    this.#claims.set(pid, claim);
    this.#platform.fds.watch(pidfd, () => {
      const exit = this.#peek(claim);
      if (exit !== null) this.#end(claim, exit);
    });
    return claim;
  }

  /** A process that is nobody's child here: its parent, who would have told of its end, was killed too. */
  #watchOther(claim: Claim): void {
    const { fds, processes, clock } = this.#platform;
    this.#claims.set(claim.pid, claim);
    fds.watch(claim.pidfd, () => {
      fds.unwatch(claim.pidfd);
      this.#ended.add(claim);
      // The kernel knows how it ended when it has been reaped, by whomever.
      const ask = (tries: number): void => {
        const exit = processes.pidfdExit(claim.pidfd) ?? this.#zombieExit(claim.pid);
        if (exit === null && tries > 0) {
          clock.after(REAPED_CHECK, () => ask(tries - 1));
          return;
        }
        const { pid } = claim;
        claim.settle(
          exit === null
            ? { pid, status: UNKNOWN_STATUS, signal: 0, isUnknown: true }
            : { pid, status: exit.status, signal: exit.signal },
        );
        clock.after(0, () => this.#release(claim, this.#claims));
      };
      ask(REAPED_CHECKS);
    });
  }

  #peek(claim: Claim): Exit | null {
    try {
      return this.#platform.processes.reapPidfd(claim.pidfd, true);
    } catch (error) {
      if (!isSystemError(error, "ECHILD")) throw error;
      return { pid: claim.pid, status: UNKNOWN_STATUS, signal: 0 };
    }
  }

  /**
   * Tells of a child's exit, and reaps it when what follows from it is written down: a shim that dies in between leaves it to the keeper. While a hold
   * is out, whoever claimed it may not have come so far.
   */
  #end(claim: Claim, exit: Exit): void {
    if (this.#ended.has(claim)) return;
    this.#ended.add(claim);
    this.#platform.fds.unwatch(claim.pidfd);
    claim.settle(exit);
    if (this.#holds.size === 0) this.#reapSoon(claim);
    else this.#unreaped.set(claim, this.#holdCount);
  }

  #reapSoon(claim: Claim): void {
    this.#platform.clock.after(0, () => {
      this.#reap(claim);
      this.#release(claim, this.#claims);
      this.childChanged();
    });
  }

  #reapReleased(): void {
    const [oldest = Number.POSITIVE_INFINITY] = this.#holds;
    for (const [claim, hold] of this.#unreaped) {
      if (hold >= oldest) return;
      this.#unreaped.delete(claim);
      this.#reapSoon(claim);
    }
  }

  #reap(claim: Claim): void {
    try {
      this.#platform.processes.reapPidfd(claim.pidfd);
    } catch (error) {
      if (!isSystemError(error, "ECHILD")) throw error;
    }
  }

  /** Lets a claim go whose exit is written down. Closing a descriptor writes down what is not. */
  #release(claim: Claim, claims: Map<number, Claim>): void {
    if (claims.get(claim.pid) !== claim) return;
    claims.delete(claim.pid);
    this.#ended.delete(claim);
    this.#platform.fds.close(claim.pidfd);
  }
}

function deadChild(exit: Ended): Child {
  return { pid: exit.pid, pidfd: -1, exited: Promise.resolve(exit), kill() {} };
}
