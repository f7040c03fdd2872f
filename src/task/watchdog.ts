// Notices that nobody will ever ask for a container again, and ends it: its daemon has lost a Delete, forgotten a container that was never started, or is
// gone itself, bundle and all (containerd issues 7496, 12344). Notices too that a container which is taken for running has no process any more.
import { errorText, type Log } from "../log/log.ts";
import type { Platform, Timer } from "../platform/platform.ts";
import type { State } from "./lifecycle.ts";

/** How often the bundle of a container is looked for, in ms: of one that has ended, and of any other. */
const ENDED_CHECK = 20_000;
const LIVING_CHECK = 60_000;
/** How many looks in a row must miss it before a container that was not started is deleted, and before one that runs is killed. */
const CREATED_MISSES = 2;
const RUNNING_MISSES = 3;

/** What is watched. */
export interface Watched {
  readonly id: string;
  readonly bundle: string;
  readonly state: State;
  /** Settles when it has ended. */
  readonly ended: Promise<unknown>;
  kill(): Promise<void>;
  delete(): Promise<void>;
}

export interface WatchdogOwner {
  /** Tells of exits that nobody has been told of. Returns the pids. */
  findOverlooked(): readonly number[];
  /** Whether the daemon that started the shim, or its successor, is there. */
  daemonAnswers(): boolean;
  /** The container has been deleted. */
  deleted(): void;
}

export class Watchdog {
  readonly #platform: Platform;
  readonly #log: Log;
  readonly #container: Watched;
  readonly #owner: WatchdogOwner;
  #misses = 0;
  #timer: Timer | undefined;
  #isStopped = false;

  constructor({ platform, log }: { platform: Platform; log: Log }, container: Watched, owner: WatchdogOwner) {
    this.#platform = platform;
    this.#log = log;
    this.#container = container;
    this.#owner = owner;
    this.#lookAgain();
    const lookSooner = (): void => this.#lookAgain();
    container.ended.then(lookSooner, lookSooner);
  }

  /** The container is gone: nothing of it is held any longer. */
  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  #lookAgain(): void {
    if (this.#isStopped) return;
    this.#timer?.cancel();
    const ms = this.#container.state === "stopped" ? ENDED_CHECK : LIVING_CHECK;
    this.#timer = this.#platform.clock.after(ms, () => void this.#look());
  }

  async #look(): Promise<void> {
    this.#misses = this.#isBundleThere() ? 0 : this.#misses + 1;
    try {
      this.#findOverlooked();
      if (this.#misses > 0) await this.#missed();
    } catch (error) {
      this.#warn(error);
    }
    this.#lookAgain();
  }

  #findOverlooked(): void {
    for (const pid of this.#owner.findOverlooked())
      this.#log.error("a process has ended, and nobody had said so: its exit is published now", { pid });
  }

  async #missed(): Promise<void> {
    const { id, state } = this.#container;
    const isStarted = state !== "created";
    if (state === "stopped" || (!isStarted && this.#misses >= CREATED_MISSES)) {
      this.#log.warning("bundle is gone: deleting its container", { id, state });
      await this.#delete();
    } else if (isStarted && this.#misses >= RUNNING_MISSES && !this.#daemonAnswers()) {
      this.#log.warning("bundle and daemon are gone: killing the container", { id, state });
      await this.#container.kill();
    } else if (this.#misses === 1) {
      this.#log.warning("bundle is gone, its container is not", { id, state });
    }
  }

  async #delete(): Promise<void> {
    const { state } = this.#container;
    try {
      await this.#container.delete();
    } catch (error) {
      if (state !== "stopped") throw error;
      // Nobody asks for what is left of it either.
      this.#warn(error);
    }
    this.stop();
    this.#owner.deleted();
  }

  #warn(error: unknown): void {
    const { id, state } = this.#container;
    this.#log.warning("failed to end an abandoned container", { id, state, error: errorText(error) });
  }

  #isBundleThere(): boolean {
    try {
      return this.#platform.files.stat(this.#container.bundle) !== null;
    } catch {
      // It cannot be told: nothing is done on a guess.
      return true;
    }
  }

  #daemonAnswers(): boolean {
    try {
      return this.#owner.daemonAnswers();
    } catch {
      return true;
    }
  }
}
