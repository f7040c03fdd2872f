// One container's task, asked of its shim itself.
import { SPEC_PROCESS } from "../../api/any.ts";
import type { Timestamp } from "../../api/generated/google/protobuf/timestamp.ts";
import { nsFromTimestamp } from "../../api/timestamp.ts";
import type { StdioPaths } from "../session/fifos.ts";
import type { Exit, ProcessState, TaskPort } from "../session/task-port.ts";
import { stringifyExact } from "../text/exact-json.ts";
import { statusName } from "../text/task-status.ts";
import type { ShimConnection } from "./connection.ts";

export class ShimTask implements TaskPort {
  readonly id: string;
  readonly #shim: ShimConnection;

  constructor(shim: ShimConnection, id: string) {
    this.#shim = shim;
    this.id = id;
  }

  async state(execId: string): Promise<ProcessState> {
    const { id } = this;
    const answer = await this.#shim.task.state({ id, execId }, this.#shim.limit);
    const { bundle, pid, stdin, stdout, stderr, terminal } = answer;
    const status = statusName(answer.status);
    const exit = status === "stopped" ? exitOf(answer.exitStatus, answer.exitedAt) : undefined;
    return { id, execId, status, pid, exit, bundle, stdin, stdout, stderr, terminal };
  }

  async exec(execId: string, process: Record<string, unknown>, stdio: StdioPaths): Promise<void> {
    const spec = { typeUrl: SPEC_PROCESS, value: new TextEncoder().encode(stringifyExact(process)) };
    const { stdin, stdout, stderr, terminal } = stdio;
    await this.#shim.task.exec(
      { id: this.id, execId, spec, stdin, stdout, stderr, terminal },
      this.#shim.limit,
    );
  }

  async start(execId: string): Promise<number> {
    return (await this.#shim.task.start({ id: this.id, execId })).pid;
  }

  async wait(execId: string): Promise<Exit> {
    const { exitStatus, exitedAt } = await this.#shim.task.wait({ id: this.id, execId });
    return exitOf(exitStatus, exitedAt);
  }

  async kill(execId: string, signal: number, all = false): Promise<void> {
    await this.#shim.task.kill({ id: this.id, execId, signal, all }, this.#shim.limit);
  }

  async resize(execId: string, columns: number, rows: number): Promise<void> {
    await this.#shim.task.resizePty({ id: this.id, execId, width: columns, height: rows }, this.#shim.limit);
  }

  async closeInput(execId: string): Promise<void> {
    await this.#shim.task.closeIO({ id: this.id, execId, stdin: true }, this.#shim.limit);
  }

  async delete(execId: string): Promise<Exit> {
    const { exitStatus, exitedAt } = await this.#shim.task.delete({ id: this.id, execId });
    return exitOf(exitStatus, exitedAt);
  }
}

/** The zero time of Go stands for none. */
export function exitOf(status: number, at: Timestamp | undefined): Exit {
  const ns = at === undefined ? 0n : nsFromTimestamp(at);
  return { status, at: ns > 0n ? ns : undefined };
}
