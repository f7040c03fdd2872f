// One container's task, asked of a daemon.
import { SPEC_PROCESS } from "../api/any.ts";
import { Code } from "../ttrpc/status.ts";
import type { DaemonClient } from "./daemon-client.ts";
import type { StdioPaths } from "./fifos.ts";
import { callCode, Problem } from "./problem.ts";
import { exitOf } from "./shim-task.ts";
import type { Exit, ProcessState, TaskPort } from "./task-port.ts";
import { statusName } from "./task-status.ts";

/** How long a daemon that went away may take to come back while we wait for an exit, in ms: the container goes on without it. */
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
    const exit = status === "stopped" ? exitOf(process.exitStatus, process.exitedAt) : undefined;
    return { id: this.id, execId, status, pid, exit, bundle: "", stdin, stdout, stderr, terminal };
  }

  async exec(execId: string, process: Record<string, unknown>, stdio: StdioPaths): Promise<void> {
    const spec = { typeUrl: SPEC_PROCESS, value: new TextEncoder().encode(JSON.stringify(process)) };
    const { stdin, stdout, stderr, terminal } = stdio;
    await this.#daemon.tasks.exec({ containerId: this.id, execId, spec, stdin, stdout, stderr, terminal });
  }

  async start(execId: string): Promise<number> {
    return (await this.#daemon.tasks.start({ containerId: this.id, execId })).pid;
  }

  /** Outlives a restart of the daemon. */
  async wait(execId: string): Promise<Exit> {
    let awaySince: number | undefined;
    for (;;) {
      const asked = performance.now();
      try {
        const { exitStatus, exitedAt } = await this.#daemon.tasks.wait({ containerId: this.id, execId });
        return exitOf(exitStatus, exitedAt);
      } catch (error) {
        if (callCode(error) !== Code.UNAVAILABLE) throw error;
        if (performance.now() - asked > DAEMON_RETRY * 4) awaySince = undefined;
        awaySince ??= performance.now();
        if (performance.now() - awaySince > DAEMON_AWAY) throw error;
        await new Promise((resolve) => setTimeout(resolve, DAEMON_RETRY));
      }
    }
  }

  async kill(execId: string, signal: number, all = false): Promise<void> {
    await this.#daemon.tasks.kill({ containerId: this.id, execId, signal, all });
  }

  async resize(execId: string, columns: number, rows: number): Promise<void> {
    await this.#daemon.tasks.resizePty({ containerId: this.id, execId, width: columns, height: rows });
  }

  async closeInput(execId: string): Promise<void> {
    await this.#daemon.tasks.closeIO({ containerId: this.id, execId, stdin: true });
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
}
