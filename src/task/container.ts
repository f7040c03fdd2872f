// One container: its init, its execs, and what the runtime is asked to do with them.

import type { ContainerDump } from "../api/dump.ts";
import type { CreateTaskRequest, ExecProcessRequest } from "../api/generated/task.ts";
import { type Cgroup, type CgroupRecord, findCgroup, removeCgroup } from "../cgroup/cgroup.ts";
import { topics } from "../events/topics.ts";
import { fieldsOnce } from "../platform/json-fields.ts";
import type { Child } from "../reaper/reaper.ts";
import { readSpec, type Spec } from "../runc/bundle.ts";
import { RuntimeError } from "../runc/errors.ts";
import { type RuntimeOptions, readOptions } from "../runc/options.ts";
import { mountRootfs, unmountRootfs } from "../runc/rootfs.ts";
import { type ProcessSetup, Runc, removePidFile } from "../runc/runc.ts";
import type { StdioConfig } from "../stdio/stdio.ts";
import type { CancelSignal } from "../ttrpc/cancel.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { Beginning } from "./beginning.ts";
import { type CriuRun, restoreRun, runCriu } from "./checkpoint.ts";
import { claimId, isHalfMade } from "./claim.ts";
import type { ShimContext } from "./context.ts";
import { type CheckpointRecord, Controls } from "./controls.ts";
import { Deletion } from "./deletion.ts";
import { Execs } from "./execs.ts";
import { Exits } from "./exits.ts";
import { writeGoShimFiles } from "./go-shim-files.ts";
import { writeJournal } from "./journal.ts";
import { Kills } from "./kills.ts";
import { explain, Launcher } from "./launch.ts";
import { Process, type ProcessExit } from "./process.ts";
import { Queue } from "./queue.ts";
import {
  type ChangingContainerRecord,
  type ContainerRecord,
  containerKey,
  type ExecRecord,
  type FixedContainerRecord,
  recordedSpec,
} from "./records.ts";
import { takeOver } from "./resumption.ts";

/** The last of Linux's signals. */
const SIGNAL_MAX = 64;

/** What a container is made from. */
interface ContainerConfig extends StdioConfig {
  readonly id: string;
  readonly bundle: string;
  readonly options: RuntimeOptions;
  readonly spec: Spec;
  /** Where it comes from a checkpoint. */
  readonly restoring?: CriuRun | undefined;
  /** What an earlier shim has noted of its start. */
  readonly waitsAs?: string | undefined;
  readonly lastCheckpoint?: CheckpointRecord | undefined;
}

export class Container {
  readonly id: string;
  readonly bundle: string;
  readonly init: Process;
  readonly controls: Controls;
  cgroup: Cgroup | undefined;
  readonly #context: ShimContext;
  readonly #options: RuntimeOptions;
  readonly #runc: Runc;
  readonly #spec: Spec;
  readonly #launcher: Launcher;
  readonly #exits: Exits;
  readonly #execs: Execs;
  readonly #queue = new Queue();
  readonly #kills: Kills;
  readonly #deletion: Deletion;
  /** How Start makes the container, where it comes from a checkpoint: until then the runtime does not know it, and it has no process. */
  readonly #restoring: CriuRun | undefined;
  readonly #beginning: Beginning;
  #isMade = false;
  /** Of its record. */
  readonly #fixed: () => string;

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
    this.#fixed = fieldsOnce((): FixedContainerRecord => {
      return { bundle, options, spec: recordedSpec(spec), restoring: config.restoring };
    });
    this.#beginning = new Beginning(platform, this.#runc, {
      pid: () => this.init.pid,
      mayGoOn: spec.hasPoststartHooks,
      waitsAs: config.waitsAs,
    });
    const execs = new Map<string, Process>();
    const parts = {
      id,
      bundle,
      init: this.init,
      runc: this.#runc,
      launcher: this.#launcher,
      privatePidNamespace: spec.privatePidNamespace,
      cgroup: () => this.cgroup,
    };
    this.#exits = new Exits(context, { ...parts, execs, save: (exit) => this.#save(exit) });
    this.#execs = new Execs(context, { ...parts, exits: this.#exits }, execs);
    this.#kills = new Kills(context, { ...parts, execs: this.#execs });
    this.#deletion = new Deletion(context, { ...parts, execs: this.#execs, kills: this.#kills });
    const controlled = { ...parts, exits: this.#exits, queue: this.#queue, changed: () => this.#changed() };
    this.controls = new Controls(context, controlled, config.lastCheckpoint);
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
    context.records.put(container.#key, () => container.#record());
    writeGoShimFiles(context.platform, request.bundle, container.#options);
    try {
      mountRootfs(context.platform, request.bundle, request.rootfs);
      if (container.#restoring === undefined) {
        const command = (setup: ProcessSetup): Promise<void> => container.#runc.create(setup);
        const child = await container.#launchInit("create", command, caller);
        if (caller.cancelled) throw new TtrpcError(Code.CANCELLED, "nobody waits for the container any more");
        container.#watch(child);
        container.#beginning.note();
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
    const container = new Container(context, { ...record.init, ...record });
    context.records.put(container.#key, () => container.#record());
    return { container, settled: container.#resume(record, execs) };
  }

  has(execId: string): boolean {
    return this.#execs.has(execId);
  }

  /** The init, or the exec of that id. Throws NOT_FOUND. */
  process(execId: string): Process {
    return execId === "" ? this.init : this.#execs.get(execId);
  }

  /** Registers an exec, to be started later. */
  addExec(request: ExecProcessRequest): void {
    this.init.request("exec");
    this.#execs.add(request);
  }

  start(process: Process, caller: CancelSignal): Promise<void> {
    return process === this.init
      ? this.#queue.run(() => this.#startInit(caller))
      : this.#execs.start(process, caller);
  }

  async kill(process: Process, signal: number, all: boolean): Promise<void> {
    process.request("kill");
    if (signal > SIGNAL_MAX) throw new TtrpcError(Code.INVALID_ARGUMENT, `there is no signal ${signal}`);
    if (process !== this.init) process.signal(signal);
    else await this.#kills.kill(signal, all);
  }

  /** Every pid in the container, with the id of its exec where it is one. */
  async pids(): Promise<{ pid: number; execId: string | undefined }[]> {
    const execIds = this.#execs.idsByPid();
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
      return [this.init, ...this.#execs.running()].map((process) => process.pid);
    }
  }

  /** Removes an exec that is not running. Waits for its last output, in bounds. `gone` as for delete(). */
  deleteExec(exec: Process, gone: () => void): Promise<void> {
    return this.#deletion.ofExec(exec, gone);
  }

  /**
   * Removes the container: waits for the last output, in bounds, frees the runtime's state and unmounts the root file system. `gone` is called when
   * it is done, and what that writes down is written as one with the container's end.
   */
  delete(gone: () => void = () => {}): Promise<void> {
    return this.#queue.run(() => this.#deletion.run(gone));
  }

  /** Kills the runtime's commands that are under way. */
  abandon(): void {
    this.#runc.abandon();
  }

  dump(): ContainerDump {
    return { ...this.init.dump(), execs: this.#execs.dump() };
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
    this.#save();
    this.#watchCgroup(child.pid);
    this.#changed();
    void child.exited.then((exit) => this.#exits.ofInit(exit));
  }

  #watchCgroup(pid: number, earlier?: CgroupRecord): void {
    this.cgroup = findCgroup(this.#context, pid, () => this.#publishOom(), earlier);
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
      if (!this.#runc.isKnown()) await removeCgroup(platform, this.#spec.cgroupsPath);
    } catch (error) {
      log.warning("failed to undo a create in the runtime", { id: this.id, error });
    }
    unmountRootfs(platform, this.bundle);
    removePidFile(platform, `${this.bundle}/init.pid`);
    this.#context.records.remove(this.#key);
  }

  async #startInit(caller: CancelSignal): Promise<void> {
    this.init.request("start");
    const restoring = this.#restoring;
    await this.#exits.trackInit(() =>
      restoring === undefined
        ? explain("OCI runtime start failed", this.#beginning.start())
        : this.#restore(restoring, caller),
    );
  }

  async #restore(run: CriuRun, caller: CancelSignal): Promise<void> {
    const restore = (setup: ProcessSetup): Promise<void> =>
      runCriu(this.#context.platform, this.bundle, run, () => this.#runc.restore(run.flags, setup));
    try {
      this.#watch(await this.#launchInit("restore", restore, caller));
    } catch (error) {
      await this.#undoRestore(error);
      throw error;
    }
  }

  /** What a runtime has left that was killed half-way: the next Start would find the id taken. */
  async #undoRestore(reason?: unknown): Promise<void> {
    if (await isHalfMade(this.#runc, reason)) await this.#runc.delete(true);
    removePidFile(this.#context.platform, `${this.bundle}/init.pid`);
  }

  // --- a shim's death, and the next one

  async #resume(record: ContainerRecord, execs: readonly ExecRecord[]): Promise<boolean> {
    if (!record.isMade) {
      await this.#undoCreate(undefined);
      return false;
    }
    this.#isMade = true;
    const parts = {
      init: this.init,
      execs: this.#execs,
      exits: this.#exits,
      runc: this.#runc,
      launcher: this.#launcher,
      controls: this.controls,
      queue: this.#queue,
      beginning: this.#beginning,
      restoring: this.#restoring,
      watchCgroup: () => {
        this.#watchCgroup(record.init.pid, record.cgroup);
        // One that came while nobody watched.
        this.cgroup?.checkOom();
      },
      changed: (process: Process) => this.#changedOf(process),
      undoRestore: () => this.#undoRestore(),
    };
    await takeOver(this.#context, parts, record, execs);
    return true;
  }

  // --- bookkeeping

  get #key(): string {
    return containerKey(this.id);
  }

  #changed(): void {
    this.#context.records.changed(this.#key);
  }

  #changedOf(process: Process): void {
    if (process === this.init) this.#changed();
    else this.#execs.changed(process);
  }

  /** Its ContainerRecord as JSON. */
  #record(): string {
    const changing: ChangingContainerRecord = {
      waitsAs: this.#beginning.waitsAs,
      isMade: this.#isMade,
      startIsDue: this.#exits.startIsDue,
      execCount: this.#execs.count,
      lastCheckpoint: this.controls.lastCheckpoint,
    };
    const cgroup = this.cgroup === undefined ? "" : `"cgroup":${this.cgroup.record()},`;
    const init = `"init":${this.init.record()}`;
    return `{${this.#fixed()},${init},${cgroup}${JSON.stringify(changing).slice(1)}`;
  }

  #save(exit?: ProcessExit): void {
    const { binary, root, systemdCgroup } = this.#options;
    const { home, isAdoptable } = this.#context;
    const entry = {
      runtime: { binary, root, systemdCgroup },
      pid: this.init.pid,
      ...(exit && { exit }),
      ...((isAdoptable || home !== this.bundle) && { home }),
    };
    writeJournal(this.#context.platform, this.bundle, entry);
  }
}
