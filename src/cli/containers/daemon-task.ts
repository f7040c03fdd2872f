// One container's task, asked of a daemon. While the daemon is away (it restarts, it has crashed) the container goes on, and its shim is asked.
import { SPEC_PROCESS } from "../../api/any.ts";
import { Code } from "../../ttrpc/status.ts";
import type { StdioPaths } from "../session/fifos.ts";
import type { Exit, ProcessState, TaskPort } from "../session/task-port.ts";
import { exitOf, ShimTask } from "../shims/task.ts";
import { stringifyExact } from "../text/exact-json.ts";
import { callCode, Problem } from "../text/problem.ts";
import { statusName } from "../text/task-status.ts";
import type { DaemonClient } from "./daemon-client.ts";

/** How long a daemon that went away may take to come back, in ms. */
const DAEMON_AWAY = 60_000;
const DAEMON_RETRY = 250;

export class DaemonTask implements TaskPort {
  readonly id: string;
  readonly #daemon: DaemonClient;

  constructor(daemon: DaemonClient, id: string) {
    this.#daemon = daemon;
    this.id = id;
  }

  async state(execId: string): Promise<ProcessState> {
    const { process } = await this.#daemon.tasks.get({ containerId: this.id, execId });
    if (process === undefined) throw new Problem(`no task ${this.id}`);
    const { pid, stdin, stdout, stderr, terminal } = process;
    const status = statusName(process.status);
    if (status === "unknown")
      throw new Problem(`${this.id}: its shim does not answer ("holdfast shims" tells more)`);
    const exit = status === "stopped" ? exitOf(process.exitStatus, process.exitedAt) : undefined;
    return { id: this.id, execId, status, pid, exit, bundle: "", stdin, stdout, stderr, terminal };
  }

  async exec(execId: string, process: Record<string, unknown>, stdio: StdioPaths): Promise<void> {
    const spec = { typeUrl: SPEC_PROCESS, value: new TextEncoder().encode(stringifyExact(process)) };
    const { stdin, stdout, stderr, terminal } = stdio;
    await this.#daemon.tasks.exec({ containerId: this.id, execId, spec, stdin, stdout, stderr, terminal });
  }

  async start(execId: string): Promise<number> {
    return (await this.#daemon.tasks.start({ containerId: this.id, execId })).pid;
  }

  /** Outlives a restart of the daemon, and knows the exit without it too. */
  wait(execId: string): Promise<Exit> {
    return patiently(() =>
      this.#orShim(
        async () => {
          const { exitStatus, exitedAt } = await this.#daemon.tasks.wait({ containerId: this.id, execId });
          return exitOf(exitStatus, exitedAt);
        },
        (shim) => shim.wait(execId),
      ),
    );
  }

  async kill(execId: string, signal: number, all = false): Promise<void> {
    await this.#orShim(
      () => this.#daemon.tasks.kill({ containerId: this.id, execId, signal, all }),
      (shim) => shim.kill(execId, signal, all),
    );
  }

  async resize(execId: string, width: number, height: number): Promise<void> {
    await this.#orShim(
      () => this.#daemon.tasks.resizePty({ containerId: this.id, execId, width, height }),
      (shim) => shim.resize(execId, width, height),
    );
  }

  async closeInput(execId: string): Promise<void> {
    await this.#orShim(
      () => this.#daemon.tasks.closeIO({ containerId: this.id, execId, stdin: true }),
      (shim) => shim.closeInput(execId),
    );
  }

  async delete(execId: string): Promise<Exit> {
    const { tasks } = this.#daemon;
    const { id } = this;
    const answer =
      execId === ""
        ? await tasks.delete({ containerId: id })
        : await tasks.deleteProcess({ containerId: id, execId });
    return exitOf(answer.exitStatus, answer.exitedAt);
  }

  /** Rejects with the daemon's error if there is no shim to ask either. */
  async #orShim<T, U>(ask: () => Promise<T>, askShim: (shim: ShimTask) => Promise<U>): Promise<T | U> {
    try {
      return await ask();
    } catch (error) {
      if (!isAway(error)) throw error;
      const { findShims } = await import("../shims/processes.ts");
      const { ShimConnection } = await import("../shims/connection.ts");
      const shim = findShims().find(
        ({ namespace, containers }) => namespace === this.#daemon.namespace && containers.includes(this.id),
      );
      const socket = shim?.socket;
      if (socket === undefined) throw error;
      const connection = await ShimConnection.open(socket, this.id, DAEMON_RETRY * 4).catch(() => undefined);
      if (connection === undefined) throw error;
      try {
        return await askShim(new ShimTask(connection, this.id));
      } catch (failure) {
        // It may leave, told so by a daemon that is back.
        throw connection.client.closed ? error : failure;
      } finally {
        connection.close();
      }
    }
  }
}

/** Whether a call fails because the daemon is not there. */
export function isAway(error: unknown): boolean {
  return callCode(error) === Code.UNAVAILABLE;
}

/** Asks again while the daemon is away, for a minute at most. */
export async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  let awaySince: number | undefined;
  for (;;) {
    const asked = performance.now();
    try {
      return await ask();
    } catch (error) {
      if (!isAway(error)) throw error;
      // It was there in between.
      if (performance.now() - asked > DAEMON_RETRY * 4) awaySince = undefined;
      awaySince ??= performance.now();
      if (performance.now() - awaySince > DAEMON_AWAY) throw error;
      await new Promise((resolve) => setTimeout(resolve, DAEMON_RETRY));
    }
  }
}
