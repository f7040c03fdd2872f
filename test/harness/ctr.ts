// containerd's own client, the program users type. One method per verb that the tests need; Daemon makes the instance.
import { type CommandOptions, check, type Output, Running, run } from "./command.ts";

export interface RunOptions extends CommandOptions {
  /** Further flags of `ctr run` or `ctr tasks exec`, put before the positional arguments. */
  readonly flags?: readonly string[];
}

export interface CtrSettings {
  readonly address: string;
  readonly namespace: string;
  readonly runtime: string;
  readonly rootfs: string;
  readonly fifoDirectory: string;
}

export interface TaskRow {
  readonly id: string;
  readonly pid: number;
  readonly status: string;
}

export class Ctr {
  readonly #settings: CtrSettings;
  /** Every container id and group that went through this client: the leak check looks for what each may have left. */
  readonly ids: Set<string> = new Set();

  constructor(settings: CtrSettings) {
    this.#settings = settings;
  }

  /** A client of the same daemon in another namespace. */
  inNamespace(namespace: string): Ctr {
    return new Ctr({ ...this.#settings, namespace });
  }

  /** The flags that every ctr call needs, to build command lines for a terminal. */
  get base(): readonly string[] {
    const { address, namespace } = this.#settings;
    return ["--address", address, "--namespace", namespace];
  }

  #argv(args: readonly string[]): string[] {
    return ["ctr", ...this.base, ...args];
  }

  /** Any ctr command, to its end, whatever its exit status. */
  try(args: readonly string[], options: CommandOptions = {}): Promise<Output> {
    return run(this.#argv(args), options);
  }

  /** Any ctr command; rejects unless it succeeds. Returns its stdout. */
  do(args: readonly string[], options: CommandOptions = {}): Promise<string> {
    return check(this.#argv(args), options);
  }

  spawn(args: readonly string[], options: CommandOptions = {}): Running {
    return new Running(this.#argv(args), options);
  }

  #note(id: string, flags: readonly string[]): void {
    this.ids.add(id);
    for (const flag of flags) {
      const group = flag.match(/^io\.(?:containerd\.runc\.v2\.group|kubernetes\.cri\.sandbox-id)=(.*)$/)?.[1];
      if (group !== undefined) this.ids.add(group);
    }
  }

  /** The arguments of `ctr run` for a container on the busybox rootfs. */
  runArgs(id: string, command: readonly string[], flags: readonly string[] = []): string[] {
    this.#note(id, flags);
    const { runtime, rootfs, fifoDirectory } = this.#settings;
    const fixed = ["run", "--runtime", runtime, "--fifo-dir", fifoDirectory, "--env", "PATH=/bin"];
    return [...fixed, ...flags, "--rootfs", rootfs, id, ...command];
  }

  /** `ctr run --rm`: attached, to its end. The status is the container's. */
  run(id: string, command: readonly string[], options: RunOptions = {}): Promise<Output> {
    return this.try(this.runArgs(id, command, ["--rm", ...(options.flags ?? [])]), options);
  }

  /** `ctr run --rm`, attached and left running. */
  attach(id: string, command: readonly string[], options: RunOptions = {}): Running {
    return this.spawn(this.runArgs(id, command, ["--rm", ...(options.flags ?? [])]), options);
  }

  /** `ctr run --detach`; rejects unless the container starts. */
  async start(id: string, command: readonly string[], options: RunOptions = {}): Promise<void> {
    await this.do(this.runArgs(id, command, ["--detach", ...(options.flags ?? [])]), options);
  }

  /** The arguments of `ctr run` for a container on an image. */
  imageArgs(id: string, image: string, command: readonly string[], flags: readonly string[] = []): string[] {
    const { runtime, fifoDirectory } = this.#settings;
    this.#note(id, flags);
    return ["run", "--runtime", runtime, "--fifo-dir", fifoDirectory, ...flags, image, id, ...command];
  }

  /** `ctr run --detach` on an image; rejects unless the container starts. */
  async startImage(
    id: string,
    image: string,
    command: readonly string[],
    flags: readonly string[] = [],
  ): Promise<void> {
    await this.do(this.imageArgs(id, image, command, ["--detach", ...flags]));
  }

  /** `ctr run --detach --config`: a container from a spec file of our own. */
  async startSpec(id: string, specPath: string, flags: readonly string[] = []): Promise<void> {
    this.ids.add(id);
    const { runtime, fifoDirectory } = this.#settings;
    await this.do([
      "run",
      "--detach",
      "--runtime",
      runtime,
      "--fifo-dir",
      fifoDirectory,
      ...flags,
      "--config",
      specPath,
      id,
    ]);
  }

  execArgs(id: string, execId: string, command: readonly string[], flags: readonly string[] = []): string[] {
    const fixed = ["tasks", "exec", "--fifo-dir", this.#settings.fifoDirectory, "--exec-id", execId];
    return [...fixed, ...flags, id, ...command];
  }

  /** `ctr tasks exec`: to its end. The status is the process's. */
  exec(id: string, execId: string, command: readonly string[], options: RunOptions = {}): Promise<Output> {
    return this.try(this.execArgs(id, execId, command, options.flags), options);
  }

  kill(id: string, signal: string | number, flags: readonly string[] = []): Promise<string> {
    return this.do(["tasks", "kill", "--signal", String(signal), ...flags, id]);
  }

  /** Deletes a stopped task and its container. */
  async delete(id: string): Promise<void> {
    await this.do(["tasks", "delete", id]);
    await this.do(["containers", "delete", id]);
  }

  /** Kills a task whatever its state, then deletes it and its container. */
  async remove(id: string): Promise<void> {
    await this.try(["tasks", "delete", "--force", id]);
    await this.do(["containers", "delete", id]);
  }

  async tasks(): Promise<TaskRow[]> {
    const lines = (await this.do(["tasks", "ls"])).trim().split("\n").slice(1);
    return lines.map((line) => {
      const [id = "", pid = "0", status = ""] = line.trim().split(/\s+/);
      return { id, pid: Number(pid), status };
    });
  }

  /** The row of one task; rejects when there is none. */
  async task(id: string): Promise<TaskRow> {
    const row = (await this.tasks()).find((task) => task.id === id);
    if (row === undefined) throw new Error(`no task ${id}`);
    return row;
  }

  /** The process ids of `ctr tasks ps`, each with its exec id ("" for the init and for children). */
  async processes(id: string): Promise<Map<number, string>> {
    const lines = (await this.do(["tasks", "ps", id])).trim().split("\n").slice(1);
    return new Map(
      lines.map((line) => [
        Number(line.trim().split(/\s+/)[0]),
        line.match(/(?:ExecID:|exec_id:\s*"|"exec_id":\s*")([^,"]*)/)?.[1] ?? "",
      ]),
    );
  }

  /** `ctr tasks metrics` as parsed JSON. */
  async metrics(id: string): Promise<Record<string, unknown>> {
    return JSON.parse(await this.do(["tasks", "metrics", "--format", "json", id])) as Record<string, unknown>;
  }
}
