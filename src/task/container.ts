// One container: its init, its execs, and what the runtime is asked to do with them. Used by service.ts.

import type { ContainerDump } from "../api/dump.ts";
import type { CheckpointOptions } from "../api/generated/runc_options.ts";
import type { CreateTaskRequest, ExecProcessRequest } from "../api/generated/task.ts";
import { type Cgroup, findCgroup } from "../cgroup/cgroup.ts";
import { topics } from "../events/topics.ts";
import { errorText } from "../log/log.ts";
import { within } from "../platform/deadline.ts";
import { isSystemError } from "../platform/platform.ts";
import type { Child } from "../reaper/reaper.ts";
import { type Ids, readSpec, type Spec } from "../runc/bundle.ts";
import { isAlreadyGone, RuntimeError } from "../runc/errors.ts";
import { type RuntimeOptions, readOptions } from "../runc/options.ts";
import { mountRootfs, unmountRootfs } from "../runc/rootfs.ts";
import { type ProcessSetup, Runc } from "../runc/runc.ts";
import type { CancelSignal } from "../ttrpc/cancel.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { type CriuRun, checkpointRun, restoreRun, runCriu } from "./checkpoint.ts";
import { claimId, isHalfMade } from "./claim.ts";
import type { ShimContext } from "./context.ts";
import { EXECS_TIMEOUT, Exits, exitFields } from "./exits.ts";
import { writeGoShimFiles } from "./go-shim-files.ts";
import { writeJournal } from "./journal.ts";
import { explain, Launcher, readProcessSpec, readProcessUser, withConsoleSize } from "./launch.ts";
import { Process, type ProcessExit } from "./process.ts";
import { Queue } from "./queue.ts";

/** How long Delete waits for the last output, in ms (docs/shim-protocol.md). */
const DRAIN_TIMEOUT = 10_000;

/** What an exec is to run: the runtime's JSON, and whom as. */
interface ExecSpec {
  readonly process: string;
  readonly user: Ids;
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
  readonly #spec: Spec;
  readonly #launcher: Launcher;
  readonly #exits: Exits;
  readonly #queue = new Queue();
  /** How Start makes the container, where it comes from a checkpoint: until then the runtime does not know it, and it has no process. */
  readonly #restoring: CriuRun | undefined;
  #execCount = 0;

  private constructor(context: ShimContext, request: CreateTaskRequest) {
    const { platform, reaper, namespace } = context;
    this.#context = context;
    this.id = request.id;
    this.bundle = request.bundle;
    this.#options = readOptions(platform, request.options);
    this.init = new Process("init", request.id, request);
    this.#runc = new Runc(
      platform,
      reaper,
      { id: request.id, bundle: request.bundle, namespace },
      this.#options,
    );
    this.#spec = readSpec(platform, request.bundle);
    const { bundle, checkpoint, parentCheckpoint } = request;
    if (checkpoint !== "") {
      this.#restoring = restoreRun(bundle, checkpoint, parentCheckpoint, this.#options.criuWorkPath);
    }
    this.#launcher = new Launcher(context, request, this.#spec, this.#options);
    this.#exits = new Exits(context, {
      id: request.id,
      init: this.init,
      execs: this.#execs,
      runc: this.#runc,
      privatePidNamespace: this.#spec.privatePidNamespace,
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
    const container = new Container(context, request);
    await explain("OCI runtime create failed", claimId(container.#runc, request.id));
    container.#save();
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
    const exec = new Process("exec", request.execId, request);
    this.#execs.set(exec.id, exec);
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

  resume(): Promise<void> {
    return this.#queue.run(async () => {
      this.init.request("resume");
      await explain("OCI runtime resume failed", this.#runc.resume());
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
    this.#execs.delete(exec.id);
    this.#execSpecs.delete(exec);
    exec.deleted();
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
      for (const exec of this.#execs.values()) exec.deleted();
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
    return this.#launcher.launch(this.init, { user: this.#spec.user, pidFile, verb, command }, caller);
  }

  #watch(child: Child): void {
    const { platform, events, log } = this.#context;
    this.#save();
    this.cgroup = findCgroup(platform, log, child.pid, () =>
      events.publish(topics.oom, { containerId: this.id }),
    );
    void child.exited.then((exit) => this.#exits.ofInit(exit.status));
  }

  #created(request: CreateTaskRequest): void {
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
    try {
      files.replace(`${base}.json`, withConsoleSize(process, exec), 0o600);
      const command = (setup: ProcessSetup): Promise<void> => this.#runc.exec(`${base}.json`, setup);
      const child = await this.#launcher.launch(
        exec,
        { user, pidFile: `${base}.pid`, verb: "exec", command },
        caller,
      );
      this.#execSpecs.delete(exec);
      exec.happened("started");
      this.#context.events.publish(topics.execStarted, {
        containerId: this.id,
        execId: exec.id,
        pid: child.pid,
      });
      void child.exited.then((exit) => this.#exits.ofExec(exec, exit.status));
    } catch (error) {
      exec.startFailed({ status: 255, at: clock.realtimeNs() });
      throw error;
    } finally {
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

  // --- bookkeeping

  #save(exit?: ProcessExit): void {
    const { binary, root, systemdCgroup } = this.#options;
    const entry = { runtime: { binary, root, systemdCgroup }, pid: this.init.pid, ...(exit && { exit }) };
    writeJournal(this.#context.platform, this.bundle, entry);
  }
}
