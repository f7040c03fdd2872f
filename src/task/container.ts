// One container: its init, its execs, and what the runtime is asked to do with them. Used by service.ts.

import type { ContainerDump } from "../api/dump.ts";
import type { CheckpointOptions } from "../api/generated/runc_options.ts";
import type { CreateTaskRequest, ExecProcessRequest } from "../api/generated/task.ts";
import { type Cgroup, type CgroupRecord, findCgroup } from "../cgroup/cgroup.ts";
import { topics } from "../events/topics.ts";
import { errorText } from "../log/log.ts";
import { within } from "../platform/deadline.ts";
import { isSystemError } from "../platform/platform.ts";
import type { Child, Ended } from "../reaper/reaper.ts";
import { type Ids, readSpec, type Spec } from "../runc/bundle.ts";
import { isAlreadyGone, RuntimeError } from "../runc/errors.ts";
import { type RuntimeOptions, readOptions } from "../runc/options.ts";
import { mountRootfs, unmountRootfs } from "../runc/rootfs.ts";
import { type ProcessSetup, Runc } from "../runc/runc.ts";
import type { StdioConfig } from "../stdio/stdio.ts";
import type { CancelSignal } from "../ttrpc/cancel.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { type CriuRun, checkpointRun, restoreRun, runCriu } from "./checkpoint.ts";
import { claimId, isHalfMade } from "./claim.ts";
import type { ShimContext } from "./context.ts";
import { EXECS_TIMEOUT, Exits, exitFields } from "./exits.ts";
import { writeGoShimFiles } from "./go-shim-files.ts";
import { writeJournal } from "./journal.ts";
import { explain, Launcher, readProcessSpec, readProcessUser, withConsoleSize } from "./launch.ts";
import { Process, type ProcessExit, type ProcessRecord } from "./process.ts";
import { Queue } from "./queue.ts";
import { killUnfinishedExec } from "./unfinished-exec.ts";

/** How long Delete waits for the last output, in ms (docs/shim-protocol.md). */
const DRAIN_TIMEOUT = 10_000;

/** What an exec is to run: the runtime's JSON, and whom as. */
interface ExecSpec {
  readonly process: string;
  readonly user: Ids;
}

/** What a container is made from. */
interface ContainerConfig extends StdioConfig {
  readonly id: string;
  readonly bundle: string;
  readonly options: RuntimeOptions;
  readonly spec: Spec;
  /** Where it comes from a checkpoint. */
  readonly restoring: CriuRun | undefined;
}

/** What a successor of the shim needs to know of a container, its execs aside. */
export interface ContainerRecord {
  readonly bundle: string;
  readonly options: RuntimeOptions;
  readonly spec: Spec;
  readonly restoring?: CriuRun | undefined;
  /** Whether its create is over. One that was not is undone. */
  readonly isMade: boolean;
  readonly init: ProcessRecord;
  readonly startIsDue: boolean;
  readonly execCount: number;
  readonly cgroup?: CgroupRecord | undefined;
}

/** The same of an exec. */
export interface ExecRecord {
  readonly container: string;
  readonly process: ProcessRecord;
  /** Until it was started. */
  readonly spec?: ExecSpec | undefined;
  /** While it is being started: its pid file. */
  readonly pidFile?: string | undefined;
}

export class Container {
  readonly id: string;
  readonly bundle: string;
  readonly init: Process;
  cgroup: Cgroup | undefined;
  readonly #context: ShimContext;
  readonly #options: RuntimeOptions;
  readonly #runc: Runc;
  readonly #execs = new Map<string, Process>();
  /** The processes of execs that were not started yet, as JSON. */
  readonly #execSpecs = new Map<Process, ExecSpec>();
  /** Where the runtime writes the pid of an exec that is being started. */
  readonly #pidFiles = new Map<Process, string>();
  readonly #spec: Spec;
  readonly #launcher: Launcher;
  readonly #exits: Exits;
  readonly #queue = new Queue();
  /** How Start makes the container, where it comes from a checkpoint: until then the runtime does not know it, and it has no process. */
  readonly #restoring: CriuRun | undefined;
  #execCount = 0;

  #isMade = false;

  private constructor(context: ShimContext, config: ContainerConfig) {
    const { platform, reaper, namespace } = context;
    const { id, bundle, options, spec } = config;
    this.#context = context;
    this.id = id;
    this.bundle = bundle;
    this.#options = options;
    this.init = new Process("init", id, config, () => this.#changed());
    this.#runc = new Runc(platform, reaper, { id, bundle, namespace }, options);
    this.#spec = spec;
    this.#launcher = new Launcher(context, config, spec, options);
    this.#restoring = config.restoring;
    this.#exits = new Exits(context, {
      id,
      init: this.init,
      execs: this.#execs,
      runc: this.#runc,
      privatePidNamespace: spec.privatePidNamespace,
      cgroup: () => this.cgroup,
      save: (exit) => this.#save(exit),
    });
  }

  /** Mounts the root file system and has the runtime make the container. A failure leaves nothing behind. */
  static async create(
    context: ShimContext,
    request: CreateTaskRequest,
    caller: CancelSignal,
  ): Promise<Container> {
    const spec = readSpec(context.platform, request.bundle);
    const options = readOptions(context.platform, request.options);
    const image = request.checkpoint || options.criuImagePath;
    const restoring =
      image === ""
        ? undefined
        : restoreRun(request.bundle, image, request.parentCheckpoint, options.criuWorkPath);
    const container = new Container(context, { ...request, options, spec, restoring });
    await explain("OCI runtime create failed", claimId(container.#runc, request.id));
    container.#save();
    context.records.put(container.#key, () => JSON.stringify(container.#record()));
    writeGoShimFiles(context.platform, request.bundle, container.#options);
    try {
      mountRootfs(context.platform, request.bundle, request.rootfs);
      if (container.#restoring === undefined) {
        const command = (setup: ProcessSetup): Promise<void> => container.#runc.create(setup);
        const child = await container.#launchInit("create", command, caller);
        if (caller.cancelled) throw new TtrpcError(Code.CANCELLED, "nobody waits for the container any more");
        container.#watch(child);
      }
      container.#created(request);
    } catch (error) {
      await container.#undoCreate(error);
      throw error;
    }
    return container;
  }

  /**
   * Takes a container over from an earlier shim. `settled` resolves when nothing that was under way then is left: undefined if the container was being
   * made, which has been undone.
   */
  static resume(
    context: ShimContext,
    record: ContainerRecord,
    execs: readonly ExecRecord[],
  ): { container: Container; settled: Promise<boolean> } {
    const { bundle, options, spec, restoring, init } = record;
    const container = new Container(context, { ...init, bundle, options, spec, restoring });
    context.records.put(container.#key, () => JSON.stringify(container.#record()));
    return { container, settled: container.#resume(record, execs) };
  }

  has(execId: string): boolean {
    return this.#execs.has(execId);
  }

  /** The init, or the exec of that id. Throws NOT_FOUND. */
  process(execId: string): Process {
    if (execId === "") return this.init;
    const exec = this.#execs.get(execId);
    if (exec === undefined) throw new TtrpcError(Code.NOT_FOUND, `process does not exist ${execId}`);
    return exec;
  }

  /** Registers an exec, to be started later. */
  addExec(request: ExecProcessRequest): void {
    this.init.request("exec");
    if (request.execId === "") throw new TtrpcError(Code.INVALID_ARGUMENT, "exec id is empty");
    if (this.#execs.has(request.execId)) throw new TtrpcError(Code.ALREADY_EXISTS, `id ${request.execId}`);
    const { platform } = this.#context;
    const spec = { process: readProcessSpec(platform, request), user: readProcessUser(platform, request) };
    const exec = this.#newExec(request.execId, request);
    this.#execSpecs.set(exec, spec);
    this.#context.events.publish(topics.execAdded, { containerId: this.id, execId: exec.id });
  }

  start(process: Process, caller: CancelSignal): Promise<void> {
    return process === this.init
      ? this.#queue.run(() => this.#startInit(caller))
      : this.#startExec(process, caller);
  }

  async kill(process: Process, signal: number, all: boolean): Promise<void> {
    process.request("kill");
    if (process !== this.init) {
      process.signal(signal);
      return;
    }
    if (process.pid === 0) throw new TtrpcError(Code.FAILED_PRECONDITION, "process not created");
    try {
      await this.#runc.kill(signal, all);
    } catch (error) {
      if (isAlreadyGone(error)) throw new TtrpcError(Code.NOT_FOUND, "process already finished");
      const isUnable = isSystemError(error) || (error instanceof RuntimeError && error.hung);
      if (!isUnable) throw error;
      this.#killDirectly(signal, all, error);
    }
  }

  pause(): Promise<void> {
    return this.#queue.run(async () => {
      this.init.request("pause");
      try {
        await explain("OCI runtime pause failed", this.#runc.pause());
      } catch (error) {
        this.init.happened("pauseFailed");
        throw error;
      }
      this.init.happened("paused");
      this.#context.events.publish(topics.paused, { containerId: this.id });
      // It has ended meanwhile: nobody else will thaw it.
      if (this.init.state !== "paused") await this.#exits.thaw();
    });
  }

  /** `again`: an earlier shim died over it, and may have come that far. */
  resume(again: boolean): Promise<void> {
    return this.#queue.run(async () => {
      this.init.request("resume");
      const isDone = again && (await this.#runc.status()) === "running";
      if (!isDone) await explain("OCI runtime resume failed", this.#runc.resume());
      this.init.happened("resumed");
      this.#context.events.publish(topics.resumed, { containerId: this.id });
    });
  }

  /** Writes the container's processes to the directory `path`. */
  checkpoint(path: string, options: CheckpointOptions): Promise<void> {
    return this.#queue.run(async () => {
      this.init.request("checkpoint");
      const run = checkpointRun(this.bundle, path, options);
      const command = (): Promise<void> => this.#runc.checkpoint(run.flags);
      await explain(
        "OCI runtime checkpoint failed",
        runCriu(this.#context.platform, this.bundle, run, command),
      );
      this.#context.events.publish(topics.checkpointed, { containerId: this.id, checkpoint: path });
    });
  }

  /** Applies limits; `resources` is the JSON of an OCI LinuxResources. */
  update(resources: string): Promise<void> {
    return this.#queue.run(async () => {
      this.init.request("update");
      try {
        JSON.parse(resources);
      } catch (error) {
        throw new TtrpcError(Code.INVALID_ARGUMENT, `resources: ${errorText(error)}`);
      }
      await this.#runc.update(resources);
    });
  }

  /** Every pid in the container, with the id of its exec where it is one. */
  async pids(): Promise<{ pid: number; execId: string | undefined }[]> {
    const execIds = new Map([...this.#execs.values()].map((exec) => [exec.pid, exec.id]));
    return (await this.#livePids()).map((pid) => ({ pid, execId: execIds.get(pid) }));
  }

  /**
   * A daemon of containerd 1.7 and newer asks for the pids when it starts, takes a shim that has none for leaked, and deletes its task with the exit
   * that happened while it was away. So a container that has ended names its init until it is deleted.
   */
  async #livePids(): Promise<number[]> {
    const ended = (): boolean => this.init.state === "ending" || this.init.state === "stopped";
    if (ended()) return [this.init.pid];
    try {
      const pids = await this.#runc.pids();
      return pids.length > 0 ? pids : [this.init.pid];
    } catch (error) {
      if (ended()) return [this.init.pid];
      if (!(error instanceof RuntimeError && error.hung)) throw error;
      const execs = [...this.#execs.values()].filter((exec) => exec.state === "running");
      return [this.init, ...execs].map((process) => process.pid);
    }
  }

  /** Removes an exec that is not running. Waits for its last output, in bounds. */
  async deleteExec(exec: Process): Promise<void> {
    exec.request("delete");
    if (exec.state === "stopped") await this.#drain(exec);
    this.#forgetExec(exec);
    exec.deleted();
  }

  #forgetExec(exec: Process): void {
    this.#execs.delete(exec.id);
    this.#execSpecs.delete(exec);
    this.#context.records.remove(this.#execKey(exec.id));
  }

  /** Removes the container: waits for the last output, in bounds, frees the runtime's state and unmounts the root file system. */
  delete(): Promise<void> {
    return this.#queue.run(async () => {
      this.init.request("delete");
      if (this.init.state === "created") await this.#killCreated();
      // Its exit is held, in bounds, for those of its execs.
      if (this.init.state === "ending") await this.init.wait();
      await this.#drain(this.init);
      await this.#deleteFromRuntime();
      unmountRootfs(this.#context.platform, this.bundle);
      for (const exec of this.#execs.values()) {
        this.#context.records.remove(this.#execKey(exec.id));
        exec.deleted();
      }
      this.#context.records.remove(this.#key);
      this.init.deleted();
      this.cgroup?.close();
      this.#context.events.publish(topics.delete, {
        containerId: this.id,
        id: "",
        pid: this.init.pid,
        ...exitFields(this.init.exit),
      });
    });
  }

  /** Kills the runtime's commands that are under way. */
  abandon(): void {
    this.#runc.abandon();
  }

  dump(): ContainerDump {
    return { ...this.init.dump(), execs: [...this.#execs.values()].map((exec) => exec.dump()) };
  }

  // --- creating and starting

  #launchInit(
    verb: "create" | "restore",
    command: (setup: ProcessSetup) => Promise<void>,
    caller: CancelSignal,
  ): Promise<Child> {
    const pidFile = `${this.bundle}/init.pid`;
    const launch = { user: this.#spec.user, pidFile, verb, command };
    return this.#launcher.launch(this.init, launch, caller, () => this.#changed());
  }

  #watch(child: Child): void {
    const { platform, log } = this.#context;
    this.#save();
    this.cgroup = findCgroup(platform, log, child.pid, () => this.#publishOom());
    this.#changed();
    void child.exited.then((exit) => this.#exits.ofInit(exit));
  }

  #created(request: CreateTaskRequest): void {
    this.#isMade = true;
    this.#changed();
    const { rootfs, checkpoint, stdin, stdout, stderr, terminal } = request;
    this.#context.events.publish(topics.create, {
      containerId: this.id,
      bundle: this.bundle,
      rootfs,
      io: { stdin, stdout, stderr, terminal },
      checkpoint,
      pid: this.init.pid,
    });
  }

  #publishOom(): void {
    this.#changed();
    this.#context.events.publish(topics.oom, { containerId: this.id });
  }

  /** Whatever a failed create has left: a runtime that was killed half-way leaves a container that nobody asked for. */
  async #undoCreate(reason: unknown): Promise<void> {
    const { platform, log } = this.#context;
    this.init.deleted();
    try {
      if (await isHalfMade(this.#runc, reason)) await this.#runc.delete(true);
    } catch (error) {
      log.warning("failed to undo a create in the runtime", { id: this.id, error });
    }
    unmountRootfs(platform, this.bundle);
    // runc writes the pid beside its place first, and refuses to write over what one that was killed there has left.
    for (const file of ["init.pid", ".init.pid"]) platform.files.remove(`${this.bundle}/${file}`);
    this.#context.records.remove(this.#key);
  }

  async #startInit(caller: CancelSignal): Promise<void> {
    this.init.request("start");
    const restoring = this.#restoring;
    await this.#exits.trackInit(() =>
      restoring === undefined
        ? explain("OCI runtime start failed", this.#runc.start())
        : this.#restore(restoring, caller),
    );
  }

  async #restore(run: CriuRun, caller: CancelSignal): Promise<void> {
    const restore = (setup: ProcessSetup): Promise<void> =>
      runCriu(this.#context.platform, this.bundle, run, () => this.#runc.restore(run.flags, setup));
    this.#watch(await this.#launchInit("restore", restore, caller));
  }

  async #startExec(exec: Process, caller: CancelSignal): Promise<void> {
    this.init.request("execStart");
    exec.request("start");
    const spec = this.#execSpecs.get(exec);
    if (spec === undefined) throw new Error(`internal error: exec ${exec.id} has no process to run`);
    await this.#exits.track(() => this.#runExec(exec, spec, caller));
  }

  async #runExec(exec: Process, { process, user }: ExecSpec, caller: CancelSignal): Promise<void> {
    const { files, clock } = this.#context.platform;
    // Numbered, not named by its id: an exec called "init" must not take the init's pid file.
    const base = `${this.bundle}/exec-${this.#execCount++}`;
    this.#pidFiles.set(exec, `${base}.pid`);
    try {
      files.replace(`${base}.json`, withConsoleSize(process, exec), 0o600);
      const command = (setup: ProcessSetup): Promise<void> => this.#runc.exec(`${base}.json`, setup);
      const changed = (): void => this.#execChanged(exec);
      const launch = { user, pidFile: `${base}.pid`, verb: "exec", command } as const;
      const child = await this.#launcher.launch(exec, launch, caller, changed);
      this.#execSpecs.delete(exec);
      exec.happened("started");
      this.#context.events.publish(topics.execStarted, {
        containerId: this.id,
        execId: exec.id,
        pid: child.pid,
      });
      void child.exited.then((exit) => this.#exits.ofExec(exec, exit));
    } catch (error) {
      exec.startFailed({ status: 255, at: clock.realtimeNs() });
      throw error;
    } finally {
      this.#pidFiles.delete(exec);
      files.remove(`${base}.json`);
      files.remove(`${base}.pid`);
    }
  }

  /** The way out when the runtime's kill hangs, or no process can be made for it: by the pidfds of what we know. */
  #killDirectly(signal: number, all: boolean, reason: unknown): void {
    this.#context.log.warning("the runtime cannot kill: sending the signal without it", {
      id: this.id,
      signal,
      error: reason,
    });
    this.init.signal(signal);
    if (all) for (const exec of this.#execs.values()) exec.signal(signal);
  }

  // --- deleting

  async #killCreated(): Promise<void> {
    await this.#runc.delete(true);
    // One that was to be restored never had a process.
    if (this.init.pid !== 0) await within(this.#context.platform.clock, EXECS_TIMEOUT, this.init.wait());
  }

  async #deleteFromRuntime(): Promise<void> {
    try {
      await this.#runc.delete(false);
    } catch (error) {
      if (error instanceof RuntimeError && error.hung) throw error;
      // Something still holds on in there. The init is gone, so this is the end of it.
      await explain("failed to delete task", this.#runc.delete(true));
    }
  }

  async #drain(process: Process): Promise<void> {
    const drained = process.stdio?.drain();
    if (drained === undefined || (await within(this.#context.platform.clock, DRAIN_TIMEOUT, drained))) return;
    this.#context.log.warning("output is not read, or still comes: what is left of it is lost", {
      id: this.id,
      process: process.id,
    });
  }

  // --- a shim's death, and the next one

  async #resume(record: ContainerRecord, execs: readonly ExecRecord[]): Promise<boolean> {
    const { platform, log } = this.#context;
    if (!record.isMade) {
      await this.#undoCreate(undefined);
      return false;
    }
    this.#isMade = true;
    this.#execCount = record.execCount;
    const { init } = record;
    this.#takeOver(this.init, init, (exit) => this.#exits.ofInit(exit));
    this.cgroup = findCgroup(platform, log, init.pid, () => this.#publishOom(), record.cgroup);
    const unfinished: Promise<void>[] = [];
    for (const { process, spec, pidFile } of execs) {
      const exec = this.#newExec(process.id, process);
      if (spec !== undefined) this.#execSpecs.set(exec, spec);
      this.#takeOver(exec, process, (exit) => this.#exits.ofExec(exec, exit));
      if (process.state === "starting") unfinished.push(this.#undoStart(exec, pidFile));
    }
    if (init.state === "starting") unfinished.push(this.#finishStart());
    if (init.state === "pausing") unfinished.push(this.#finishPause());
    if (init.state === "ending" && this.init.death !== undefined) {
      void this.#exits.resumeInit(this.init.death, record.startIsDue);
    }
    await Promise.allSettled(unfinished);
    return true;
  }

  #takeOver(process: Process, record: ProcessRecord, ended: (exit: Ended) => unknown): void {
    const { reaper } = this.#context;
    const child = record.pid === 0 ? undefined : reaper.adopt(record.pid, record.pidfd);
    const { state, stdio } = record;
    const isMade = stdio !== undefined && (process === this.init || state !== "starting");
    process.resume(
      record,
      child,
      isMade ? this.#launcher.resume(process, stdio, () => this.#changedOf(process)) : undefined,
    );
    if (record.exit === undefined) void child?.exited.then(ended);
  }

  /** The runtime was killed while it started the init: whether it has come that far, it knows. */
  #finishStart(): Promise<void> {
    return this.#queue.run(() =>
      this.#exits.trackInit(async () => {
        if (this.#restoring !== undefined && this.init.pid === 0) await this.#runc.delete(true);
        else if ((await this.#runc.status()) !== "created") return;
        throw new Error("the start came to nothing");
      }),
    );
  }

  #finishPause(): Promise<void> {
    return this.#queue.run(async () => {
      const isPaused = (await this.#runc.status()) === "paused";
      this.init.happened(isPaused ? "paused" : "pauseFailed");
      if (isPaused) this.#context.events.publish(topics.paused, { containerId: this.id });
    });
  }

  /** The runtime was killed while it started an exec: nobody has been told of what there is of it. */
  #undoStart(exec: Process, pidFile: string | undefined): Promise<void> {
    const { clock } = this.#context.platform;
    return this.#exits.track(async () => {
      const known = [this.init, ...this.#execs.values()].map(({ pid }) => pid);
      await killUnfinishedExec(this.#context, {
        pidFile,
        known,
        membership: this.#spec.privatePidNamespace ? this.cgroup?.record().membership : undefined,
      });
      exec.startFailed({ status: 255, at: clock.realtimeNs() });
    });
  }

  // --- bookkeeping

  get #key(): string {
    return `container ${this.id}`;
  }

  #execKey(id: string): string {
    return `exec ${JSON.stringify([this.id, id])}`;
  }

  #changed(): void {
    this.#context.records.changed(this.#key);
  }

  #execChanged(exec: Process): void {
    this.#context.records.changed(this.#execKey(exec.id));
  }

  #changedOf(process: Process): void {
    if (process === this.init) this.#changed();
    else this.#execChanged(process);
  }

  #newExec(id: string, config: StdioConfig): Process {
    const exec: Process = new Process("exec", id, config, () => this.#execChanged(exec));
    this.#execs.set(id, exec);
    this.#context.records.put(this.#execKey(id), () => JSON.stringify(this.#execRecord(exec)));
    return exec;
  }

  #record(): ContainerRecord {
    return {
      bundle: this.bundle,
      options: this.#options,
      spec: { ...this.#spec, annotations: ownAnnotations(this.#spec) },
      restoring: this.#restoring,
      isMade: this.#isMade,
      init: this.init.record(),
      startIsDue: this.#exits.startIsDue,
      execCount: this.#execCount,
      cgroup: this.cgroup?.record(),
    };
  }

  #execRecord(exec: Process): ExecRecord {
    return {
      container: this.id,
      process: exec.record(),
      spec: this.#execSpecs.get(exec),
      pidFile: this.#pidFiles.get(exec),
    };
  }

  #save(exit?: ProcessExit): void {
    const { binary, root, systemdCgroup } = this.#options;
    const entry = { runtime: { binary, root, systemdCgroup }, pid: this.init.pid, ...(exit && { exit }) };
    writeJournal(this.#context.platform, this.bundle, entry);
  }
}

/** Pods have many, and long ones, that are none of the shim's business. */
function ownAnnotations({ annotations }: Spec): Record<string, string> {
  return Object.fromEntries(Object.entries(annotations).filter(([name]) => name.startsWith("io.holdfast.")));
}
