// The order in which a container's ends are published: every exec's exit before its init's, an OOM before the exit that it caused, and no exit before the
// start that it ends (containerd issues 9719, 8180).
import type { Timestamp } from "../api/generated/google/protobuf/timestamp.ts";
import { timestampFromNs } from "../api/timestamp.ts";
import type { Cgroup } from "../cgroup/cgroup.ts";
import { topics } from "../events/topics.ts";
import { within } from "../platform/deadline.ts";
import { SIGKILL } from "../platform/platform.ts";
import type { Ended } from "../reaper/reaper.ts";
import { isAlreadyGone } from "../runc/errors.ts";
import type { Runc } from "../runc/runc.ts";
import type { ShimContext } from "./context.ts";
import type { Process, ProcessExit } from "./process.ts";

/** How long an init's exit is held for starts and for its execs' exits, in ms: they are dying already, but a hung runtime must not hide an exit. */
export const EXECS_TIMEOUT = 4_000;

/** What of a container its ends depend on. */
export interface Ending {
  readonly id: string;
  readonly init: Process;
  readonly execs: ReadonlyMap<string, Process>;
  readonly runc: Runc;
  /** Whether the container's processes end with its init by themselves. */
  readonly privatePidNamespace: boolean;
  cgroup(): Cgroup | undefined;
  /** Keeps the init's exit where it outlives the shim. */
  save(exit: ProcessExit): void;
}

export class Exits {
  readonly #context: ShimContext;
  readonly #container: Ending;
  /** Starts on their way. */
  readonly #starts = new Set<Promise<void>>();
  /** Whether the init's is among them, and is not published yet. */
  #startIsDue = false;

  constructor(context: ShimContext, container: Ending) {
    this.#context = context;
    this.#container = container;
  }

  /** Runs a start; the init's exit waits for it. */
  async track(start: () => Promise<void>): Promise<void> {
    const started = start();
    this.#starts.add(started);
    try {
      await started;
    } finally {
      this.#starts.delete(started);
    }
  }

  /** The same for the init's own start, which is published when it is done; if it hangs, before the exit. */
  async trackInit(start: () => Promise<void>): Promise<void> {
    const { init } = this.#container;
    this.#startIsDue = true;
    await this.track(async () => {
      try {
        await start();
        this.#publishStart();
      } catch (error) {
        init.startFailed();
        throw error;
      } finally {
        this.#startIsDue = false;
      }
    });
  }

  #publishStart(): void {
    if (!this.#startIsDue) return;
    this.#startIsDue = false;
    const { id, init } = this.#container;
    init.happened("started");
    this.#context.events.publish(topics.start, { containerId: id, pid: init.pid });
  }

  ofExec(exec: Process, { status, at, isUnknown }: Ended): void {
    this.#publish(exec, { status, at: at ?? this.#now(), isUnknown });
  }

  /** Whether the init's start has still to be published. */
  get startIsDue(): boolean {
    return this.#startIsDue;
  }

  /** Takes over the exit of an init that an earlier shim held. */
  resumeInit(exit: ProcessExit, startIsDue: boolean): Promise<void> {
    return this.#hold(exit, true, startIsDue);
  }

  ofInit({ status, at, isUnknown }: Ended): Promise<void> {
    const { init } = this.#container;
    const exit: ProcessExit = { status, at: at ?? this.#now(), isUnknown };
    this.#save(exit);
    const wasPaused = init.state === "paused";
    init.died(exit);
    return this.#hold(exit, wasPaused, this.#startIsDue);
  }

  /** Holds the init's exit until no start is on its way and all execs' exits are published, in bounds. */
  async #hold(exit: ProcessExit, wasPaused: boolean, startWasDue: boolean): Promise<void> {
    const { id, init, runc } = this.#container;
    const { clock } = this.#context.platform;
    this.#startIsDue = startWasDue;
    if (!(await within(clock, EXECS_TIMEOUT, this.#restEnded(wasPaused)))) {
      this.#context.log.warning("the init's exit is published, though its start or an exec has not ended", {
        id,
      });
    }
    if (startWasDue) this.#publishStart();
    this.#publish(init, exit);
    // A start or a pause that still hangs would hold up the Delete that comes now.
    runc.endWithin(EXECS_TIMEOUT);
  }

  async #restEnded(wasPaused: boolean): Promise<void> {
    const { execs, privatePidNamespace } = this.#container;
    // What is frozen does not end.
    if (wasPaused) await this.thaw();
    const starting = this.#starts.size > 0;
    if (!privatePidNamespace) await this.#killAll();
    await Promise.allSettled(this.#starts);
    // An exec whose start was under way came into the container after the kill.
    if (!privatePidNamespace && starting) await this.#killAll();
    const running = [...execs.values()].filter((exec) => exec.state === "running");
    await Promise.allSettled(running.map((exec) => exec.wait()));
  }

  /** A container in somebody else's pid namespace does not end with its init by itself. */
  async #killAll(): Promise<void> {
    const { id, execs, runc } = this.#container;
    for (const exec of execs.values()) exec.signal(SIGKILL);
    try {
      await runc.kill(SIGKILL, true);
    } catch (error) {
      if (!isAlreadyGone(error)) {
        this.#context.log.warning("failed to kill init's children", { id, error });
      }
    }
  }

  /** For a container that has ended while it was paused: a frozen cgroup cannot be removed. */
  async thaw(): Promise<void> {
    const { id, runc } = this.#container;
    try {
      await runc.thaw();
    } catch (error) {
      this.#context.log.warning("failed to resume an exited container", { id, error });
    }
  }

  /** The exit is published even if it cannot be kept. */
  #save(exit: ProcessExit): void {
    const { id, save } = this.#container;
    try {
      save(exit);
    } catch (error) {
      this.#context.log.error("failed to write the exit to the journal", { id, error });
    }
  }

  /** That it has ended and the event of it are written down as one: nothing that could be seen elsewhere comes between. */
  #publish(process: Process, exit: ProcessExit): void {
    const { id, cgroup } = this.#container;
    cgroup()?.checkOom(this.#wasKilledByOthers(process, exit));
    process.exited(exit);
    this.#context.events.publish(topics.exit, {
      containerId: id,
      id: process.id,
      pid: process.pid,
      ...exitFields(exit),
    });
  }

  /** By SIGKILL, as the OOM killer does. An exec whose container has ended went with its init: how that ended decides. */
  #wasKilledByOthers(process: Process, exit: ProcessExit): boolean {
    const { init } = this.#container;
    const [ended, { status }] = init.death === undefined ? [process, exit] : [init, init.death];
    return status === 128 + SIGKILL && !ended.isKilled && !init.isKilled;
  }

  #now(): bigint {
    return this.#context.platform.clock.realtimeNs();
  }
}

/** An exit as it stands in events and responses. */
export function exitFields(exit: ProcessExit | undefined): {
  exitStatus: number;
  exitedAt: Timestamp | undefined;
} {
  return { exitStatus: exit?.status ?? 0, exitedAt: exit && timestampFromNs(exit.at) };
}
