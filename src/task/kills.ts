// Signals to a container's init: through the runtime, and past it if it cannot. Called by container.ts.
import { within } from "../platform/deadline.ts";
import { isSystemError, SIGKILL } from "../platform/platform.ts";
import { isAlreadyGone, RuntimeError } from "../runc/errors.ts";
import type { Runc } from "../runc/runc.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import type { ShimContext } from "./context.ts";
import type { Execs } from "./execs.ts";
import type { Process } from "./process.ts";

/** How long Delete waits for the answers to Kills that the runtime is still about, in ms. */
const SETTLE_TIMEOUT = 2_000;

/** What of a container is signalled. */
export interface Killed {
  readonly id: string;
  readonly init: Process;
  readonly execs: Execs;
  readonly runc: Runc;
  readonly privatePidNamespace: boolean;
}

export class Kills {
  readonly #context: ShimContext;
  readonly #container: Killed;
  /** Those that the runtime is about. */
  readonly #underWay = new Set<Promise<void>>();

  constructor(context: ShimContext, container: Killed) {
    this.#context = context;
    this.#container = container;
  }

  /** `all`: every process of the container. Throws NOT_FOUND if it has ended. */
  async kill(signal: number, all: boolean): Promise<void> {
    if (this.#container.init.pid === 0) throw new TtrpcError(Code.FAILED_PRECONDITION, "process not created");
    if (signal === SIGKILL) this.#container.init.isKilled = true;
    const killing = this.#byRuntime(signal, all);
    this.#underWay.add(killing);
    await killing.finally(() => this.#underWay.delete(killing));
  }

  /** A client that has its Delete's answer closes the connection, and whoever waits there for a Kill's would be told that it failed. */
  async settled(): Promise<void> {
    await within(this.#context.platform.clock, SETTLE_TIMEOUT, Promise.allSettled(this.#underWay));
  }

  async #byRuntime(signal: number, all: boolean): Promise<void> {
    const { runc, privatePidNamespace } = this.#container;
    // The runtime takes whoever is in the control group, which may be another container's too: two daemons with the same namespace and id have the same one. The
    // kernel ends the processes of a pid namespace with its init.
    const isByKernel = signal === SIGKILL && privatePidNamespace;
    try {
      await runc.kill(signal, all && !isByKernel);
    } catch (error) {
      if (isAlreadyGone(error)) throw new TtrpcError(Code.NOT_FOUND, "process already finished");
      const isUnable = isSystemError(error) || (error instanceof RuntimeError && error.hung);
      if (!isUnable) throw error;
      this.#directly(signal, all, error);
    }
  }

  /** The way out when the runtime's kill hangs, or no process can be made for it: by the pidfds of what we know. */
  #directly(signal: number, all: boolean, reason: unknown): void {
    const { id, init, execs } = this.#container;
    this.#context.log.warning("the runtime cannot kill: sending the signal without it", {
      id,
      signal,
      error: reason,
    });
    init.signal(signal);
    if (all) execs.signal(signal);
  }
}
