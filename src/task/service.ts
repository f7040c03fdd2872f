// The task service, v2 and v3 of which are the same on the wire: requests in, containers asked, responses out. Served by src/shim/serve.ts.
import { pack, RUNC_CHECKPOINT_OPTIONS, RUNC_PROCESS_DETAILS, unpack } from "../api/any.ts";
import type { ContainerDump } from "../api/dump.ts";
import type { Empty } from "../api/generated/google/protobuf/empty.ts";
import { type ProcessInfo, Status } from "../api/generated/process.ts";
import { CheckpointOptions, ProcessDetails } from "../api/generated/runc_options.ts";
import type * as api from "../api/generated/task.ts";
import { withoutV1 } from "../api/v1-options.ts";
import { withOutput } from "../cgroup/metrics-writer.ts";
import { errorText } from "../log/log.ts";
import { SIGKILL } from "../platform/platform.ts";
import type { CallContext } from "../ttrpc/definition.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { Container } from "./container.ts";
import type { ShimContext } from "./context.ts";
import { exitFields } from "./exits.ts";
import type { Process, ProcessExit } from "./process.ts";
import { type ContainerRecord, checkId, type ExecRecord } from "./records.ts";
import { Watchdog, type Watched } from "./watchdog.ts";

/** How many answers to Delete are kept for a client that asks again. */
const REMEMBERED_DELETES = 16;

/** How many columns and rows a terminal can have: the kernel has 16 bits for each. */
const TERMINAL_MAX = 0xffff;

const empty: Empty = {};

/** What the service tells the one who serves it. */
export interface ServiceOwner {
  /** A container came or went: now there are `count`, those being made included. */
  containersChanged(count: number): void;
  /** Shutdown was asked for, and no container is left. */
  shutdown(): void;
}

export class TaskService {
  readonly #context: ShimContext;
  readonly #owner: ServiceOwner;
  /** null while a container is being made: the id is taken, but nothing can be asked of it. */
  readonly #containers = new Map<string, Container | null>();
  readonly #deletes = new Map<string, Deleted>();
  /** Resolves when nothing is left that was under way when an earlier shim died. */
  #settled: Promise<unknown> = Promise.resolve();
  readonly #watchdogs = new Map<string, Watchdog>();

  constructor(context: ShimContext, owner: ServiceOwner) {
    this.#context = context;
    this.#owner = owner;
  }

  /** Takes over what an earlier shim has left, by kind of record. */
  takeOver(records: ReadonlyMap<string, Uint8Array>): void {
    const { text } = this.#context.platform;
    const containers: ContainerRecord[] = [];
    const execs: ExecRecord[] = [];
    for (const [key, content] of records) {
      if (key.startsWith("container ")) containers.push(JSON.parse(text.decode(content)));
      else if (key.startsWith("exec ")) execs.push(JSON.parse(text.decode(content)));
      else if (key.startsWith("deleted ")) {
        this.#remember(key.slice("deleted ".length), readDeleted(JSON.parse(text.decode(content))));
      }
    }
    this.#settled = Promise.all(
      containers.map((record) =>
        this.#takeOverContainer(
          record,
          execs.filter(({ container }) => container === record.init.id),
        ),
      ),
    );
  }

  async #takeOverContainer(record: ContainerRecord, execs: readonly ExecRecord[]): Promise<void> {
    const { id } = record.init;
    const { container, settled } = Container.resume(this.#context, record, execs);
    this.#put(id, record.isMade ? container : null);
    if (!(await settled)) this.#remove(id);
  }

  async create(request: api.CreateTaskRequest, call: CallContext): Promise<api.CreateTaskResponse> {
    const { id } = request;
    if (call.isResumed) {
      const wasBegun = this.#containers.has(id);
      await this.#settled;
      const made = this.#containers.get(id);
      if (made) return { pid: made.init.pid };
      if (wasBegun) throw new TtrpcError(Code.UNAVAILABLE, "the shim was killed while it made the container");
    }
    if (this.#containers.has(id)) throw new TtrpcError(Code.ALREADY_EXISTS, `container ${id} already exists`);
    checkId(id);
    this.#put(id, null);
    try {
      const container = await Container.create(this.#context, request, call);
      this.#put(id, container);
      this.#forgetDelete(deleteKey(request));
      return { pid: container.init.pid };
    } catch (error) {
      this.#remove(id);
      throw error;
    }
  }

  async start(request: api.StartRequest, call: CallContext): Promise<api.StartResponse> {
    const [container, process] = this.#find(request);
    if (call.isResumed) {
      await this.#settled;
      if (process.pid > 0 && process.state !== "created") return { pid: process.pid };
      const failure = process.takeFailure();
      if (failure !== undefined) throw failure;
    }
    await container.start(process, call);
    return { pid: process.pid };
  }

  async delete(request: api.DeleteRequest): Promise<api.DeleteResponse> {
    const key = deleteKey(request);
    const again = this.#deletes.get(key);
    if (again !== undefined) return deleteAnswer(again);
    const [container, process] = this.#find(request);
    const gone = (): void => {
      this.#remember(key, { pid: process.pid, exit: process.exit });
      if (request.execId === "") this.#remove(request.id);
    };
    try {
      await (request.execId === "" ? container.delete(gone) : container.deleteExec(process, gone));
    } catch (error) {
      const answer = this.#deletes.get(key);
      if (answer === undefined) throw error;
      // Of two Deletes at once the second finds it done. What else comes now is a fault in letting go of it.
      if (!(error instanceof TtrpcError))
        this.#context.log.error("internal error", { id: request.id, error: errorText(error) });
      return deleteAnswer(answer);
    }
    return deleteAnswer({ pid: process.pid, exit: process.exit });
  }

  async exec(request: api.ExecProcessRequest, call: CallContext): Promise<Empty> {
    const container = this.#container(request.id);
    if (call.isResumed && container.has(request.execId)) return empty;
    container.addExec(request);
    this.#forgetDelete(deleteKey(request));
    return empty;
  }

  state(request: api.StateRequest): api.StateResponse {
    const [container, process] = this.#find(request);
    const { stdin, stdout, stderr, terminal } = process.config;
    return {
      id: process.id,
      bundle: container.bundle,
      pid: process.pid,
      status: statusOf(container, process),
      stdin,
      stdout,
      stderr,
      terminal,
      ...exitFields(process.exit),
      execId: request.execId,
    };
  }

  async kill(request: api.KillRequest, call: CallContext): Promise<Empty> {
    const [container, process] = this.#find(request);
    try {
      await container.kill(process, request.signal, request.all);
    } catch (error) {
      // It may have ended of this very signal: an earlier shim died over the call.
      if (!call.isResumed || !(error instanceof TtrpcError) || error.code !== Code.NOT_FOUND) throw error;
    }
    return empty;
  }

  async pause(request: api.PauseRequest, call: CallContext): Promise<Empty> {
    const container = this.#container(request.id);
    if (call.isResumed) await this.#settled;
    if (!call.isResumed || container.init.state !== "paused") await container.controls.pause();
    return empty;
  }

  async resume(request: api.ResumeRequest, call: CallContext): Promise<Empty> {
    await this.#container(request.id).controls.resume(call.isResumed);
    return empty;
  }

  async resizePty(request: api.ResizePtyRequest): Promise<Empty> {
    const [, process] = this.#find(request);
    process.request("resize");
    const { width, height } = request;
    if (Math.max(width, height) > TERMINAL_MAX) {
      throw new TtrpcError(Code.INVALID_ARGUMENT, `no terminal is as large as ${width} x ${height}`);
    }
    process.resize(width, height);
    return empty;
  }

  async closeIO(request: api.CloseIORequest): Promise<Empty> {
    this.#find(request)[1].closeStdin();
    return empty;
  }

  async update(request: api.UpdateTaskRequest): Promise<Empty> {
    const resources = this.#context.platform.text.decode(request.resources?.value ?? new Uint8Array(0));
    await this.#container(request.id).controls.update(resources);
    return empty;
  }

  async wait(request: api.WaitRequest, call: CallContext): Promise<api.WaitResponse> {
    return exitFields(await this.#find(request)[1].wait(call));
  }

  stats(request: api.StatsRequest): api.StatsResponse {
    const { cgroup, init } = this.#container(request.id);
    if (cgroup === undefined) throw new TtrpcError(Code.NOT_FOUND, "cgroup does not exist");
    const stats = cgroup.stats();
    const output = init.stdio?.figures();
    if (output === undefined) return { stats };
    const { dropped, waiting } = output;
    return { stats: { ...stats, value: withOutput(stats.value, dropped, waiting) } };
  }

  async pids(request: api.PidsRequest): Promise<api.PidsResponse> {
    const pids = await this.#container(request.id).pids();
    const processes = pids.map(({ pid, execId }): ProcessInfo => {
      return execId === undefined
        ? { pid }
        : { pid, info: pack(RUNC_PROCESS_DETAILS, ProcessDetails, { execId }) };
    });
    return { processes };
  }

  connect(request: api.ConnectRequest): api.ConnectResponse {
    const container = this.#containers.get(request.id);
    return { shimPid: this.#context.platform.self.pid(), taskPid: container?.init.pid ?? 0, version: "" };
  }

  async shutdown(): Promise<Empty> {
    if (this.#containers.size === 0) this.#owner.shutdown();
    return empty;
  }

  async checkpoint(request: api.CheckpointTaskRequest, call: CallContext): Promise<Empty> {
    const container = this.#container(request.id);
    const options = checkpointOptions(request);
    const path = request.path || options.imagePath;
    if (path === "") throw new TtrpcError(Code.INVALID_ARGUMENT, "checkpoint: no directory to write it to");
    if (call.isResumed) await this.#settled;
    await container.controls.checkpoint(path, options, call.isResumed);
    return empty;
  }

  /** Kills the runtime's commands that are under way, before another process goes on. */
  abandon(): void {
    for (const container of this.#containers.values()) container?.abandon();
  }

  /** What there is, for Debug. A container that is being made is not among them. */
  dump(): ContainerDump[] {
    return [...this.#containers.values()]
      .filter((container) => container !== null)
      .map((container) => container.dump());
  }

  #container(id: string): Container {
    const container = this.#containers.get(id);
    if (!container) throw new TtrpcError(Code.NOT_FOUND, "container not created");
    return container;
  }

  #find(request: { id: string; execId: string }): [Container, Process] {
    const container = this.#container(request.id);
    return [container, container.process(request.execId)];
  }

  #put(id: string, container: Container | null): void {
    this.#containers.set(id, container);
    if (container !== null) this.#watch(container);
    this.#owner.containersChanged(this.#containers.size);
  }

  #remove(id: string): void {
    this.#containers.delete(id);
    this.#watchdogs.get(id)?.stop();
    this.#watchdogs.delete(id);
    this.#owner.containersChanged(this.#containers.size);
  }

  /** A daemon that has lost track of a container has removed its bundle all the same: nobody will ask for it again. */
  #watch(container: Container): void {
    const watched: Watched = {
      id: container.id,
      bundle: container.bundle,
      get state() {
        return container.init.state;
      },
      ended: container.init.wait(),
      kill: () => container.kill(container.init, SIGKILL, true),
      delete: () => container.delete(),
    };
    const owner = {
      findOverlooked: () => this.#context.reaper.findOverlooked(),
      daemonAnswers: () => this.#context.daemonAnswers(),
      deleted: () => {
        if (this.#containers.get(container.id) === container) this.#remove(container.id);
      },
    };
    this.#watchdogs.set(container.id, new Watchdog(this.#context, watched, owner));
  }

  #remember(key: string, deleted: Deleted): void {
    const { records } = this.#context;
    const { pid, exit } = deleted;
    this.#deletes.set(key, deleted);
    records.put(`deleted ${key}`, () =>
      JSON.stringify({ pid, status: exit?.status, at: exit && String(exit.at) }),
    );
    const oldest = this.#deletes.keys().next().value;
    if (this.#deletes.size > REMEMBERED_DELETES && oldest !== undefined) this.#forgetDelete(oldest);
  }

  #forgetDelete(key: string): void {
    if (this.#deletes.delete(key)) this.#context.records.remove(`deleted ${key}`);
  }
}

/** What is told of a process that was deleted. */
interface Deleted {
  readonly pid: number;
  readonly exit: ProcessExit | undefined;
}

function deleteAnswer({ pid, exit }: Deleted): api.DeleteResponse {
  return { pid, ...exitFields(exit) };
}

function readDeleted({ pid, status, at }: { pid: number; status?: number; at?: string }): Deleted {
  return { pid, exit: status === undefined || at === undefined ? undefined : { status, at: BigInt(at) } };
}

function checkpointOptions({ options }: api.CheckpointTaskRequest): CheckpointOptions {
  if (options === undefined || options.typeUrl === "") return CheckpointOptions.decode(new Uint8Array(0));
  const known = unpack(withoutV1(options), RUNC_CHECKPOINT_OPTIONS, CheckpointOptions);
  if (known !== undefined) return known;
  throw new TtrpcError(Code.INVALID_ARGUMENT, `checkpoint options of unknown type ${options.typeUrl}`);
}

function deleteKey(request: { id: string; execId?: string }): string {
  return JSON.stringify([request.id, request.execId ?? ""]);
}

/** An exec of a container that is paused is paused with it. */
function statusOf(container: Container, process: Process): Status {
  const { state } =
    container.init.state === "paused" || container.init.state === "pausing" ? container.init : process;
  switch (state) {
    case "created":
    case "starting":
      return Status.CREATED;
    case "running":
    case "ending":
      return Status.RUNNING;
    case "pausing":
      return Status.PAUSING;
    case "paused":
      return Status.PAUSED;
    default:
      return Status.STOPPED;
  }
}
