// How a shim lets another process go on in its place, with everything that is open: the next version of its program, or itself as the keeper when the
// keeper was killed. The other side is resume.ts.
import { errorText, type Log } from "../log/log.ts";
import { failpoint } from "../platform/failpoint.ts";
import type { Platform } from "../platform/platform.ts";
import type { StateLog } from "../platform/state-log.ts";
import type { Reaper } from "../reaper/reaper.ts";
import { collect } from "../runc/collect.ts";
import type { TtrpcServer } from "../ttrpc/server.ts";

/** How long calls that are under way may take to end first, in ms; Wait and its like are answered by the successor. */
const QUIET_TIMEOUT = 3_000;
const QUIET_CHECK = 5;
/** Calls that may go on for ever, or are about this very thing. */
const GO_ON: readonly string[] = ["Wait", "Upgrade"];
/** What a program says that can. */
export const STATE_IS_READABLE = "holdfast: this state can be gone on with";
/** Most of what a program says of the state, in bytes. */
const MAX_ANSWER = 4096;

interface Parts {
  readonly platform: Platform;
  readonly log: Log;
  readonly records: StateLog;
  readonly reaper: Reaper;
  readonly server: TtrpcServer;
  /** Kills what runs for calls that do not end. */
  abandon(): void;
}

export class Succession {
  readonly #parts: Parts;
  readonly #keeper: number;
  #isUnderWay = false;

  /** `keeper` is 0 without one. */
  constructor(parts: Parts, keeper: number) {
    this.#parts = parts;
    this.#keeper = keeper;
    if (keeper > 0) this.#watchKeeper();
  }

  /**
   * Has the program at `path` take this one's place. Rejects, with nothing changed, if it cannot read the state. It does not return: whoever asked is
   * answered by the successor, which is this same program if the other one could not go on.
   */
  async upgrade(path: string): Promise<never> {
    const { platform } = this.#parts;
    const state = platform.keeping.prepareState();
    this.#parts.records.moveTo(state);
    await this.#probe(path, state);
    const program = platform.fds.openProgram(path);
    await this.#settle();
    failpoint("upgrade:settled");
    if (this.#isKept()) platform.keeping.haveExecuted(program);
    try {
      // Its keeper was killed meanwhile: this process becomes the next one.
      return platform.keeping.execute(program, this.#keeper > 0);
    } catch (error) {
      this.#goOn();
      platform.fds.close(program);
      throw error;
    }
  }

  /** Whether its keeper lives. */
  #isKept(): boolean {
    return this.#keeper > 0 && this.#parts.platform.self.parentPid() === this.#keeper;
  }

  /** The keeper was killed: what is left becomes it, and the parent of everything stays the same process. */
  #watchKeeper(): void {
    const { platform, log } = this.#parts;
    let pidfd: number;
    try {
      pidfd = platform.processes.openPidfd(this.#keeper);
    } catch (error) {
      log.warning("the keeper is gone already", { error: errorText(error) });
      void this.#becomeKeeper();
      return;
    }
    platform.fds.watch(pidfd, () => {
      platform.fds.unwatch(pidfd);
      void this.#becomeKeeper();
    });
  }

  async #becomeKeeper(): Promise<void> {
    const { platform, log } = this.#parts;
    log.warning("the keeper was killed: another one takes its place");
    await this.#settle();
    failpoint("keeper:gone");
    let program = -1;
    try {
      program = platform.fds.openProgram("/proc/self/exe");
      platform.keeping.execute(program, true);
    } catch (error) {
      // It serves on without one.
      this.#goOn();
      if (program >= 0) platform.fds.close(program);
      log.error("no keeper could be made", { error: errorText(error) });
    }
  }

  /** Nothing is under way any more when this is over that a successor would find half done. */
  async #settle(): Promise<void> {
    const { platform, server, records, abandon } = this.#parts;
    const { clock } = platform;
    while (this.#isUnderWay) await new Promise<void>((resolve) => clock.after(QUIET_CHECK, resolve));
    this.#isUnderWay = true;
    server.suspend();
    const deadline = clock.monotonicMs() + QUIET_TIMEOUT;
    const isBusy = (): boolean => server.activeCalls().some(({ method }) => !GO_ON.includes(method));
    while (isBusy() && clock.monotonicMs() < deadline) {
      await new Promise<void>((resolve) => clock.after(QUIET_CHECK, resolve));
    }
    abandon();
    records.flush();
  }

  #goOn(): void {
    this.#isUnderWay = false;
    this.#parts.server.goOn();
  }

  /** Asks the program whether it can read the state: its version, then all of it. */
  async #probe(path: string, state: number): Promise<void> {
    const { platform, records, reaper } = this.#parts;
    const { fds } = platform;
    records.flush();
    const [readEnd, writeEnd] = fds.pipe();
    const answer = collect(platform, readEnd, MAX_ANSWER);
    const input = fds.openRead(`/proc/self/fd/${state}`);
    try {
      const child = reaper.spawn({ argv: [path, "-probe-state"], fds: [input, writeEnd, writeEnd] });
      fds.close(writeEnd);
      const { status } = await child.exited;
      const words = (await answer).trim();
      // Not everything that ends with 0 is a shim.
      if (status !== 0 || words !== STATE_IS_READABLE) {
        throw new Error(`${path} cannot go on with this shim's state: ${words || `it ended with ${status}`}`);
      }
    } finally {
      answer.cancel();
      fds.close(input);
    }
  }
}
