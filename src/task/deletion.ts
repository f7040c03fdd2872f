// How a container goes: its processes end, their last output is waited for, and the runtime's state and the mounts are freed. Called by container.ts.
import type { Cgroup } from "../cgroup/cgroup.ts";
import { topics } from "../events/topics.ts";
import { within } from "../platform/deadline.ts";
import { RuntimeError } from "../runc/errors.ts";
import { unmountRootfs } from "../runc/rootfs.ts";
import type { Runc } from "../runc/runc.ts";
import type { ShimContext } from "./context.ts";
import type { Execs } from "./execs.ts";
import { EXECS_TIMEOUT, exitFields } from "./exits.ts";
import type { Kills } from "./kills.ts";
import { explain } from "./launch.ts";
import type { Process } from "./process.ts";
import { containerKey } from "./records.ts";

/** How long Delete waits for the last output, in ms (docs/shim-protocol.md). */
const DRAIN_TIMEOUT = 10_000;

/** What of a container goes with it. */
interface Deleted {
  readonly id: string;
  readonly bundle: string;
  readonly init: Process;
  readonly runc: Runc;
  readonly execs: Execs;
  readonly kills: Kills;
  cgroup(): Cgroup | undefined;
}

export class Deletion {
  readonly #context: ShimContext;
  readonly #container: Deleted;

  constructor(context: ShimContext, container: Deleted) {
    this.#context = context;
    this.#container = container;
  }

  /** Of the container. `gone` is called when it is done, and what that writes down is written as one with the container's end. */
  async run(gone: () => void): Promise<void> {
    const { platform, records, events } = this.#context;
    const { id, bundle, init, execs, kills, cgroup } = this.#container;
    init.request("delete");
    if (init.state === "created") await this.#killCreated();
    // Its exit is held, in bounds, for those of its execs.
    if (init.state === "ending") await init.wait();
    await this.#drain(init);
    await kills.settled();
    await this.#deleteFromRuntime();
    unmountRootfs(platform, bundle);
    execs.end();
    records.remove(containerKey(id));
    gone();
    events.publish(topics.delete, { containerId: id, id: "", pid: init.pid, ...exitFields(init.exit) });
    init.deleted();
    cgroup()?.close();
  }

  /** Of an exec that is not running. */
  async ofExec(exec: Process, gone: () => void): Promise<void> {
    exec.request("delete");
    if (exec.state === "stopped") await this.#drain(exec);
    this.#container.execs.remove(exec, gone);
  }

  async #killCreated(): Promise<void> {
    const { init, runc } = this.#container;
    init.isKilled = true;
    await runc.delete(true);
    // One that was to be restored never had a process.
    if (init.pid !== 0) await within(this.#context.platform.clock, EXECS_TIMEOUT, init.wait());
  }

  async #deleteFromRuntime(): Promise<void> {
    const { runc } = this.#container;
    try {
      await runc.delete(false);
    } catch (error) {
      if (error instanceof RuntimeError && error.hung) throw error;
      // Something still holds on in there. The init is gone, so this is the end of it.
      await explain("failed to delete task", runc.delete(true));
    }
  }

  async #drain(process: Process): Promise<void> {
    const drained = process.stdio?.drain();
    if (drained === undefined || (await within(this.#context.platform.clock, DRAIN_TIMEOUT, drained))) return;
    this.#context.log.warning("output is not read, or still comes: what is left of it is lost", {
      id: this.#container.id,
      process: process.id,
    });
  }
}
