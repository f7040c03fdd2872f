// The execs of one container: adding, starting and forgetting them, and undoing a start that died with an earlier shim.
import type { ExecProcessRequest } from "../api/generated/task.ts";
import type { Cgroup } from "../cgroup/cgroup.ts";
import { topics } from "../events/topics.ts";
import type { ProcessSetup, Runc } from "../runc/runc.ts";
import type { StdioConfig } from "../stdio/stdio.ts";
import type { CancelSignal } from "../ttrpc/cancel.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import type { ShimContext } from "./context.ts";
import type { Exits } from "./exits.ts";
import { type Launcher, readProcessSpec, readProcessUser, withConsoleSize } from "./launch.ts";
import { Process } from "./process.ts";
import { containerKey, type ExecBeginning, type ExecRecord, type ExecSpec, execKey } from "./records.ts";
import { killUnfinishedExec, now, removeStartFiles } from "./unfinished-exec.ts";

/** Most that execs which nobody starts may take, of all containers of a shim together, in bytes: whoever goes on after its death has to read them. */
const MAX_UNSTARTED = 32 << 20;

/** What of a container its execs depend on. */
export interface ExecOwner {
  readonly id: string;
  readonly bundle: string;
  readonly init: Process;
  readonly runc: Runc;
  readonly launcher: Launcher;
  readonly exits: Exits;
  readonly privatePidNamespace: boolean;
  cgroup(): Cgroup | undefined;
}

export class Execs {
  readonly #context: ShimContext;
  readonly #container: ExecOwner;
  readonly #all: Map<string, Process>;
  /** The processes of execs that were not started yet, as JSON. */
  readonly #specs = new Map<Process, ExecSpec>();
  /** Of those that are being started. */
  readonly #beginnings = new Map<Process, ExecBeginning>();
  #count = 0;

  /** `all` is filled here, and read by others. */
  constructor(context: ShimContext, container: ExecOwner, all: Map<string, Process>) {
    this.#context = context;
    this.#container = container;
    this.#all = all;
  }

  /** How many were started so far: their files are numbered. */
  get count(): number {
    return this.#count;
  }

  has(id: string): boolean {
    return this.#all.has(id);
  }

  /** Throws NOT_FOUND. */
  get(id: string): Process {
    const exec = this.#all.get(id);
    if (exec === undefined) throw new TtrpcError(Code.NOT_FOUND, `process does not exist ${id}`);
    return exec;
  }

  /** Registers an exec, to be started later. */
  add(request: ExecProcessRequest): void {
    if (request.execId === "") throw new TtrpcError(Code.INVALID_ARGUMENT, "exec id is empty");
    if (this.has(request.execId)) throw new TtrpcError(Code.ALREADY_EXISTS, `id ${request.execId}`);
    const { platform } = this.#context;
    const spec = { process: readProcessSpec(platform, request), user: readProcessUser(platform, request) };
    const { bytes } = this.#context.unstarted;
    if (bytes + spec.process.length > MAX_UNSTARTED) {
      const why = `${bytes} bytes of execs wait to be started: start or delete some before ${request.execId}`;
      throw new TtrpcError(Code.RESOURCE_EXHAUSTED, why);
    }
    const exec = this.#make(request.execId, request);
    this.#keepSpec(exec, spec);
    this.#context.events.publish(topics.execAdded, { containerId: this.#container.id, execId: exec.id });
  }

  async start(exec: Process, caller: CancelSignal): Promise<void> {
    this.#container.init.request("execStart");
    exec.request("start");
    const spec = this.#specs.get(exec);
    if (spec === undefined) throw new Error(`internal error: exec ${exec.id} has no process to run`);
    await this.#container.exits.track(() => this.#run(exec, spec, caller));
  }

  /** What is recorded of the exec has changed. */
  changed(exec: Process): void {
    this.#context.records.changed(this.#key(exec.id));
  }

  signal(signal: number): void {
    for (const exec of this.#all.values()) exec.signal(signal);
  }

  running(): Process[] {
    return [...this.#all.values()].filter((exec) => exec.state === "running");
  }

  /** The ids of those that have been started, by pid. */
  idsByPid(): Map<number, string> {
    return new Map([...this.#all.values()].map((exec) => [exec.pid, exec.id]));
  }

  /** To be called when it has been drained. `gone` is called before anything of that can be seen elsewhere. */
  remove(exec: Process, gone: () => void): void {
    this.#all.delete(exec.id);
    this.#dropSpec(exec);
    this.#context.records.remove(this.#key(exec.id));
    gone();
    exec.deleted();
  }

  /** Their container is deleted: whoever holds one of them still gets an answer. */
  end(): void {
    for (const exec of this.#all.values()) {
      this.#dropSpec(exec);
      this.#context.records.remove(this.#key(exec.id));
      exec.deleted();
    }
  }

  dump(): ReturnType<Process["dump"]>[] {
    return [...this.#all.values()].map((exec) => exec.dump());
  }

  /** Takes those of an earlier shim over, once its init is. `takeOver` does what is the same for an init. Returns what is being undone. */
  resume(
    count: number,
    records: readonly ExecRecord[],
    takeOver: (exec: Process, record: ExecRecord["process"]) => void,
  ): Promise<void>[] {
    this.#count = count;
    const unfinished: Promise<void>[] = [];
    for (const { process, spec, pidFile, since } of records) {
      const exec = this.#make(process.id, process);
      if (spec !== undefined) this.#keepSpec(exec, spec);
      takeOver(exec, process);
      if (process.state === "starting") unfinished.push(this.#undoStart(exec, { pidFile, since }));
    }
    return unfinished;
  }

  async #run(exec: Process, { process, user }: ExecSpec, caller: CancelSignal): Promise<void> {
    const { platform, records } = this.#context;
    const { files, clock } = platform;
    const { id, bundle, runc, launcher, exits } = this.#container;
    // Numbered, not named by its id: an exec called "init" must not take the init's pid file.
    const base = `${bundle}/exec-${this.#count++}`;
    records.changed(containerKey(id));
    this.#beginnings.set(exec, { pidFile: `${base}.pid`, since: now(platform) });
    try {
      files.replace(`${base}.json`, withConsoleSize(process, exec), 0o600);
      const command = (setup: ProcessSetup): Promise<void> => runc.exec(`${base}.json`, setup);
      const launch = { user, pidFile: `${base}.pid`, verb: "exec", command } as const;
      const child = await launcher.launch(exec, launch, caller, () => this.changed(exec));
      this.#dropSpec(exec);
      exec.happened("started");
      this.#context.events.publish(topics.execStarted, { containerId: id, execId: exec.id, pid: child.pid });
      void child.exited.then((exit) => exits.ofExec(exec, exit));
    } catch (error) {
      exec.startFailed({ status: 255, at: clock.realtimeNs() }, error);
      // Answered by then.
      clock.after(0, () => void exec.takeFailure());
      throw error;
    } finally {
      this.#beginnings.delete(exec);
      removeStartFiles(platform, `${base}.pid`);
    }
  }

  /** The runtime was killed while it started an exec: nobody has been told of what there is of it. */
  #undoStart(exec: Process, beginning: Partial<ExecBeginning>): Promise<void> {
    const { clock } = this.#context.platform;
    const { init, exits, privatePidNamespace, cgroup } = this.#container;
    return exits.track(async () => {
      const membership = cgroup()?.membership;
      await killUnfinishedExec(this.#context, {
        ...beginning,
        init: init.pid,
        membership,
        mayBeOrphans: !privatePidNamespace,
      });
      const why = new TtrpcError(Code.UNAVAILABLE, "the shim was killed while it started the process");
      exec.startFailed({ status: 255, at: clock.realtimeNs() }, why);
    });
  }

  #keepSpec(exec: Process, spec: ExecSpec): void {
    this.#specs.set(exec, spec);
    this.#context.unstarted.bytes += spec.process.length;
  }

  #dropSpec(exec: Process): void {
    this.#context.unstarted.bytes -= this.#specs.get(exec)?.process.length ?? 0;
    this.#specs.delete(exec);
  }

  #make(id: string, config: StdioConfig): Process {
    const exec: Process = new Process("exec", id, config, () => this.changed(exec));
    this.#all.set(id, exec);
    this.#context.records.put(this.#key(id), () => this.#record(exec));
    return exec;
  }

  /** Its ExecRecord as JSON. */
  #record(exec: Process): string {
    const own: Omit<ExecRecord, "process"> = {
      container: this.#container.id,
      spec: this.#specs.get(exec),
      ...this.#beginnings.get(exec),
    };
    return `{"process":${exec.record()},${JSON.stringify(own).slice(1)}`;
  }

  #key(id: string): string {
    return execKey(this.#container.id, id);
  }
}
