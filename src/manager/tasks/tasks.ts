// All tasks: making them, finding them, deleting them, and minding their connections. The tasks service and reattach.ts use it.
import type { Logger } from "pino";
import type { Container } from "../../api/generated/containers.ts";
import type { Any } from "../../api/generated/google/protobuf/any.ts";
import type { Mount } from "../../api/generated/mount.ts";
import type { DeleteResponse } from "../../api/generated/task.ts";
import { failpoint } from "../../platform/failpoint.ts";
import { saysDead } from "../../shims/connect.ts";
import { DEFAULT_RUNTIME_ROOT, findRuntimeHolder, runtimeRootOf } from "../../shims/runtime-root.ts";
import type { CancelSignal } from "../../ttrpc/cancel.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import type { Config } from "../config.ts";
import { errorText, pause } from "../deferred.ts";
import type { Metrics } from "../metrics/metrics.ts";
import type { Histories } from "../records/history.ts";
import type { Exchange } from "../server/exchange.ts";
import { Adoption } from "./adoption.ts";
import { Bundle, type BundlePlace } from "./bundle.ts";
import { DeadShims, type Outcome, SHUTDOWN_TIMEOUT_MS } from "./dead-shims.ts";
import { type LogFifos, readShimLog } from "./log-fifos.ts";
import { type RootedOptions, restorePath, withRuntimeRoot } from "./runtime-options.ts";
import type { Runtimes } from "./runtimes.ts";
import { ShimBinary, type ShimBinaryContext } from "./shim-binary.ts";
import { ShimLink } from "./shim-link.ts";
import { Task } from "./task.ts";

const RECONNECT_MS = 250;

export interface NewTask {
  readonly container: Container;
  readonly rootfs: readonly Mount[];
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
  /** Those of the container's runtime, if left out. */
  readonly options: Any | undefined;
  /** A shim binary to use in place of the runtime's; "" for none. */
  readonly runtimePath: string;
}

export interface TasksContext {
  readonly place: BundlePlace;
  readonly timeouts: Config["timeouts"];
  readonly shims: ShimBinaryContext;
  readonly runtimes: Runtimes;
  readonly exchange: Exchange;
  readonly histories: Histories;
  readonly fifos: LogFifos;
  readonly metrics: Metrics;
  readonly log: Logger;
}

export class Tasks {
  readonly context: TasksContext;
  readonly #tasks = new Map<string, Task>();
  /** Ids that cannot be used now, and why. */
  readonly #reserved = new Map<string, string>();

  readonly dead: DeadShims;
  readonly adoption: Adoption;

  constructor(context: TasksContext) {
    this.context = context;
    const { exchange, histories, log, timeouts, shims } = context;
    this.adoption = new Adoption({ isWanted: shims.adopt, histories, log, timeoutMs: timeouts.shimStart });
    this.dead = new DeadShims({ exchange, histories, log, cleanupTimeoutMs: timeouts.shimCleanup });
  }

  find(namespace: string, id: string): Task | undefined {
    return this.#tasks.get(keyOf(namespace, id));
  }

  list(namespace?: string): Task[] {
    const all = [...this.#tasks.values()];
    return namespace === undefined ? all : all.filter((task) => task.namespace === namespace);
  }

  /** Why ids cannot be used now, by namespace and id. */
  get reserved(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#reserved);
  }

  isReserved(namespace: string, id: string): boolean {
    return this.#reserved.has(keyOf(namespace, id));
  }

  /** Takes an id until the returned function is called. Throws ALREADY_EXISTS; `why` is for the error of the next who wants it. */
  reserve(namespace: string, id: string, why: string): () => void {
    const key = keyOf(namespace, id);
    const holder = this.#tasks.get(key);
    const taken = holder === undefined ? this.#reserved.get(key) : `already exists: ${holder.describe()}`;
    if (taken !== undefined) throw new TtrpcError(Code.ALREADY_EXISTS, `task ${id}: ${taken}`);
    this.#reserved.set(key, why);
    return () => void this.#reserved.delete(key);
  }

  /** Starts a shim and has it create the container. Rejects, with all undone, when a step fails or the caller goes away. */
  async create(namespace: string, wanted: NewTask, signal: CancelSignal): Promise<Task> {
    const { id, runtime } = wanted.container;
    const path = this.context.runtimes.resolve(wanted.runtimePath || (runtime?.name ?? ""));
    const release = this.reserve(namespace, id, "it is being created");
    try {
      const bundle = new Bundle(this.context.place, namespace, id);
      bundle.make(wanted.container.spec?.value ?? new Uint8Array(0));
      failpoint("create:bundle");
      const binary = this.binaryOf(path, bundle);
      const given = wanted.options ?? runtime?.options;
      const rooted = withRuntimeRoot(given, path, runtimeRootOf(this.context.place.state));
      const task = await this.#start(bundle, binary, { ...wanted, ...rooted }, signal, release);
      release();
      this.#tasks.set(keyOf(namespace, id), task);
      this.watch(task);
      return task;
    } finally {
      release();
    }
  }

  async #start(
    bundle: Bundle,
    binary: ShimBinary,
    wanted: NewTask & RootedOptions,
    signal: CancelSignal,
    release: () => void,
  ): Promise<Task> {
    const { fifos, metrics, timeouts, histories } = this.context;
    let link: ShimLink | undefined;
    let closeLog = (): void => {};
    try {
      bundle.writeShimPath(binary.path);
      if (wanted.root !== undefined) bundle.writeRuntimeRoot(wanted.root);
      await fifos.place(bundle.logFifo);
      closeLog = this.readLog(bundle);
      const address = await binary.start(wanted.options, timeouts.shimStart, abortSignalOf(signal));
      metrics.countShimStart(true);
      failpoint("create:started");
      bundle.writeShim(address);
      link = await ShimLink.connect(address);
      failpoint("create:connected");
      const task = new Task({ bundle, binary, address, link, closeLog });
      task.pid = await this.#create(task, wanted, signal);
      histories.noteCreated(bundle.namespace, bundle.id, task.pid);
      failpoint("create:created");
      return task;
    } catch (error) {
      if (link === undefined) metrics.countShimStart(false);
      const failure = createFailure(error, link !== undefined, wanted, bundle);
      const outcome = await this.dead.discard(bundle, binary, link);
      closeLog();
      release();
      this.keepReserved(bundle, outcome);
      throw failure;
    }
  }

  async #create(task: Task, wanted: NewTask & RootedOptions, signal: CancelSignal): Promise<number> {
    const { stdin, stdout, stderr, terminal, rootfs } = wanted;
    const request = {
      id: task.id,
      bundle: task.bundle.path,
      rootfs: [...rootfs],
      terminal,
      stdin,
      stdout,
      stderr,
      checkpoint: restorePath(wanted.options),
      parentCheckpoint: "",
      options: wanted.options,
    };
    return (await task.shim.create(request, { signal })).pid;
  }

  /** Deletes an ended task and lets its shim go. All who delete it at the same time get the same answer. Rejects with what the shim says. */
  delete(task: Task): Promise<DeleteResponse> {
    return task.deleteOnce(() => this.#delete(task));
  }

  async #delete(task: Task): Promise<DeleteResponse> {
    await this.noteUsage(task);
    failpoint("delete:asked");
    const answer = await this.#deleteInShim(task);
    failpoint("delete:answered");
    // Somebody has cleaned up after its shim, and it is gone.
    if (task.isClosed) return answer;
    task.release();
    this.#tasks.delete(keyOf(task.namespace, task.id));
    const release = this.reserve(task.namespace, task.id, "it is being deleted");
    try {
      await task.shim.shutdown({ id: task.id, now: false }, { timeoutMs: SHUTDOWN_TIMEOUT_MS });
    } catch (error) {
      this.context.log.debug({ id: task.id, error: errorText(error) }, "shim does not answer to Shutdown");
    }
    task.close();
    failpoint("delete:shutdown");
    await this.dead.removeBundle(task.bundle);
    this.adoption.forget(task.bundle);
    release();
    return answer;
  }

  /** A shim that dies meanwhile is cleaned up after, and its container's exit is the answer. */
  async #deleteInShim(task: Task): Promise<DeleteResponse> {
    for (;;) {
      const { link } = task;
      try {
        return await link.task.delete({ id: task.id, execId: "" });
      } catch (error) {
        if (!link.isClosed) throw error;
        if (task.link !== link) continue;
        const outcome = await task.recovered;
        if (outcome === "gone")
          throw new TtrpcError(Code.NOT_FOUND, `task ${task.id} not found`, { cause: error });
        if (outcome !== "linked") return { pid: task.pid, ...outcome };
      }
    }
  }

  /** Takes in a task that is there already: reattach.ts has found it. */
  add(task: Task): void {
    this.#tasks.set(keyOf(task.namespace, task.id), task);
    this.watch(task);
  }

  /** Undoes a task that its shim does not have. */
  async drop(task: Task): Promise<void> {
    task.release();
    const outcome = await this.dead.discard(task.bundle, task.binary, task.link);
    task.close();
    this.#tasks.delete(keyOf(task.namespace, task.id));
    this.keepReserved(task.bundle, outcome);
  }

  /** Notes what an ended task has used, as long as its control group is there. */
  async noteUsage(task: Task): Promise<void> {
    const usage = await task.usage();
    if (usage !== undefined) this.context.histories.noteUsage(task.namespace, task.id, usage);
  }

  binaryOf(path: string, bundle: Bundle): ShimBinary {
    return new ShimBinary(path, bundle, this.context.shims);
  }

  readLog(bundle: Bundle): () => void {
    const { namespace, id } = bundle;
    const reader = readShimLog(bundle.logFifo, this.context.log.child({ namespace, id }));
    return () => reader.close();
  }

  /** Lets go of all shims and leaves them, and their containers, running. */
  close(): void {
    this.dead.close();
    for (const task of this.list()) task.close();
    this.#tasks.clear();
  }

  /** Minds the connection to the task's shim. */
  watch(task: Task): void {
    void task.link.closed.then(() => this.#disconnected(task));
  }

  /** A shim that can still be reached has lost a connection only. */
  async #disconnected(task: Task): Promise<void> {
    const { address, namespace, id } = task;
    while (!task.isClosed) {
      try {
        task.relink(await ShimLink.connect(address));
        this.watch(task);
        return;
      } catch (error) {
        if (saysDead(error)) {
          const adopted = await this.adoption.adopt(task.bundle, task.binary);
          if (adopted === true) continue;
          this.context.log.warn({ namespace, id }, "shim has died; cleaning up after it");
          await this.#recover(task, adopted);
          return;
        }
        await pause(RECONNECT_MS);
      }
    }
  }

  async #recover(task: Task, why: string): Promise<void> {
    const { namespace, id, bundle, binary } = task;
    if (task.isClosed) return;
    const { end, outcome } = await this.dead.recover(bundle, binary, why);
    if (task.isClosed) return;
    this.#tasks.delete(keyOf(namespace, id));
    this.keepReserved(bundle, outcome);
    task.close(end);
    this.adoption.forget(bundle);
    // Nobody has heard of a container that was never created.
    if (this.context.histories.wasCreated(namespace, id)) this.dead.publishEnd(namespace, id, end);
  }

  /** The id of what could not be cleaned up stays taken until it is. */
  keepReserved({ namespace, id, path }: Bundle, outcome: Outcome): void {
    if (outcome === "clean") return;
    const why = `what is left of it in ${path} cannot be cleaned up (${outcome.reason}); holdfastd keeps trying`;
    void outcome.clean.then(this.reserve(namespace, id, why));
  }
}

export function keyOf(namespace: string, id: string): string {
  return `${namespace}/${id}`;
}

function abortSignalOf(signal: CancelSignal): AbortSignal {
  const controller = new AbortController();
  signal.onCancel(() => controller.abort());
  return controller.signal;
}

/** Says who holds an id that the runtime has already: another daemon, if its root is shared, or something of ours that was lost. */
function createFailure(
  error: unknown,
  isConnected: boolean,
  { root }: RootedOptions,
  { namespace, id, path }: Bundle,
): TtrpcError {
  const what = isConnected ? "failed to create shim task" : "failed to start shim";
  const { code, rawMessage } = TtrpcError.from(error);
  const holder = findRuntimeHolder(root ?? DEFAULT_RUNTIME_ROOT, namespace, id);
  const isTaken = code === Code.ALREADY_EXISTS || /already exists/.test(rawMessage);
  if (holder === undefined || holder.bundle === path || !isTaken)
    return new TtrpcError(code, `${what}: ${rawMessage}`, { cause: error });
  const who = `${holder.path} belongs to the bundle ${holder.bundle || "?"}, pid ${holder.pid || "?"}`;
  return new TtrpcError(Code.ALREADY_EXISTS, `${what}: ${rawMessage}: ${who}`, { cause: error });
}
