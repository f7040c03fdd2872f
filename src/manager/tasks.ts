// All tasks: making them, finding them, deleting them, and what to do when a shim goes away. The tasks service and reattach.ts use it.
import type { Logger } from "pino";
import type { Container } from "../api/generated/containers.ts";
import type { Any } from "../api/generated/google/protobuf/any.ts";
import type { Mount } from "../api/generated/mount.ts";
import type { DeleteResponse } from "../api/generated/task.ts";
import { timestampFromNs } from "../api/timestamp.ts";
import { topics } from "../events/topics.ts";
import { nodeClock } from "../platform/node.ts";
import type { CancelSignal } from "../ttrpc/cancel.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { Bundle, type BundlePlace } from "./bundle.ts";
import type { Config } from "./config.ts";
import type { Exchange } from "./exchange.ts";
import { failpoint } from "./failpoint.ts";
import type { Histories, TaskEnd } from "./history.ts";
import { type LogFifos, readShimLog } from "./log-fifos.ts";
import type { Metrics } from "./metrics.ts";
import type { Runtimes } from "./runtimes.ts";
import { ShimBinary, type ShimBinaryContext } from "./shim-binary.ts";
import { ShimLink, saysDead } from "./shim-link.ts";
import { Task } from "./task.ts";

/** How long a shim that is told to end may take to say so, in ms (containerd's 3 s). */
const SHUTDOWN_TIMEOUT_MS = 3000;
const RECONNECT_MS = 250;
/** What containerd says of a container whose end nobody knows. */
const UNKNOWN_STATUS = 255;

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

  constructor(context: TasksContext) {
    this.context = context;
  }

  find(namespace: string, id: string): Task | undefined {
    return this.#tasks.get(keyOf(namespace, id));
  }

  list(namespace?: string): Task[] {
    const all = [...this.#tasks.values()];
    return namespace === undefined ? all : all.filter((task) => task.namespace === namespace);
  }

  /** Takes an id until the returned function is called. Throws ALREADY_EXISTS; `why` is told to the next who wants it. */
  reserve(namespace: string, id: string, why: string): () => void {
    const key = keyOf(namespace, id);
    const taken = this.#tasks.has(key) ? "already exists" : this.#reserved.get(key);
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
      const task = await this.#start(bundle, binary, wanted, signal);
      release();
      this.#tasks.set(keyOf(namespace, id), task);
      this.watch(task);
      return task;
    } finally {
      release();
    }
  }

  async #start(bundle: Bundle, binary: ShimBinary, wanted: NewTask, signal: CancelSignal): Promise<Task> {
    const { fifos, metrics, timeouts } = this.context;
    let link: ShimLink | undefined;
    let closeLog = (): void => {};
    try {
      bundle.writeShimPath(binary.path);
      await fifos.place(bundle.logFifo);
      closeLog = this.readLog(bundle);
      const options = wanted.options ?? wanted.container.runtime?.options;
      const address = await binary.start(options, timeouts.shimStart, abortSignalOf(signal));
      metrics.countShimStart(true);
      failpoint("create:started");
      bundle.writeShim(address);
      link = await ShimLink.connect(address);
      failpoint("create:connected");
      const task = new Task({ bundle, binary, address, link, closeLog });
      task.pid = await this.#create(task, wanted, signal);
      failpoint("create:created");
      return task;
    } catch (error) {
      if (link === undefined) metrics.countShimStart(false);
      await this.discard(bundle, binary, link);
      closeLog();
      const what = link === undefined ? "failed to start shim" : "failed to create shim task";
      const { code, rawMessage } = TtrpcError.from(error);
      throw new TtrpcError(code, `${what}: ${rawMessage}`, { cause: error });
    }
  }

  async #create(task: Task, wanted: NewTask, signal: CancelSignal): Promise<number> {
    const { stdin, stdout, stderr, terminal, rootfs } = wanted;
    const request = {
      id: task.id,
      bundle: task.bundle.path,
      rootfs: [...rootfs],
      terminal,
      stdin,
      stdout,
      stderr,
      checkpoint: "",
      parentCheckpoint: "",
      options: wanted.options ?? wanted.container.runtime?.options,
    };
    return (await task.shim.create(request, { signal })).pid;
  }

  /** Undoes a task that did not come to be, as far as it went. Never rejects: what stays is logged, and tried again at the next start. */
  async discard(bundle: Bundle, binary: ShimBinary | undefined, link: ShimLink | undefined): Promise<void> {
    const log = this.context.log.child({ namespace: bundle.namespace, id: bundle.id });
    try {
      // A shim that is cut off in the middle of a Create undoes it.
      await link?.task.shutdown({ id: bundle.id, now: false }, { timeoutMs: SHUTDOWN_TIMEOUT_MS });
    } catch (error) {
      log.debug({ error: errorText(error) }, "shim does not end when told to");
    }
    link?.close();
    try {
      await binary?.delete(this.context.timeouts.shimCleanup);
    } catch (error) {
      log.warn({ error: errorText(error) }, "cannot clean up after a failed start");
    }
    await this.removeBundle(bundle);
  }

  /** Deletes an ended task and lets its shim go. Rejects with what the shim says. */
  async delete(task: Task): Promise<DeleteResponse> {
    await this.noteUsage(task);
    failpoint("delete:asked");
    const answer = await this.#deleteInShim(task);
    failpoint("delete:answered");
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
    await this.removeBundle(task.bundle);
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
        const outcome = await task.recovered;
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
    await this.discard(task.bundle, task.binary, task.link);
    task.close();
    this.#tasks.delete(keyOf(task.namespace, task.id));
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
          this.context.log.warn({ namespace, id }, "shim has died; cleaning up after it");
          await this.#bury(task);
          return;
        }
        await pause(RECONNECT_MS);
      }
    }
  }

  async #bury(task: Task): Promise<void> {
    const { namespace, id, bundle, binary } = task;
    const end = await this.bury(bundle, binary);
    if (task.isClosed) return;
    this.#tasks.delete(keyOf(namespace, id));
    task.close(end);
    this.publishEnd(namespace, id, end);
  }

  /** Cleans up after a dead shim, with its binary. Resolves to how its container ended, which nobody has been told yet, but which is on record. */
  async bury(bundle: Bundle, binary: ShimBinary | undefined): Promise<TaskEnd> {
    const { namespace, id } = bundle;
    const end = this.#trueEnd(namespace, id, await this.#deleteByBinary(bundle, binary));
    failpoint("bury:deleted");
    // The bundle is what a next daemon would ask, so it goes after the record has been written.
    this.context.histories.noteEnd(namespace, id, end);
    failpoint("bury:noted");
    await this.removeBundle(bundle);
    failpoint("bury:removed");
    return end;
  }

  async #deleteByBinary(bundle: Bundle, binary: ShimBinary | undefined): Promise<DeleteResponse | undefined> {
    try {
      return await binary?.delete(this.context.timeouts.shimCleanup);
    } catch (error) {
      const { namespace, id } = bundle;
      this.context.log.error({ namespace, id, error: errorText(error) }, "cannot clean up after a dead shim");
      return undefined;
    }
  }

  /** What the shim had told before it died counts more than what its binary makes of the remains. */
  #trueEnd(namespace: string, id: string, answer: DeleteResponse | undefined): TaskEnd {
    const known = this.context.histories.ended(namespace, id);
    if (known !== undefined) return { pid: known.pid, exitStatus: known.status, exitedAt: known.exitedAt };
    const now = timestampFromNs(nodeClock.realtimeNs());
    const { pid = 0, exitStatus = UNKNOWN_STATUS, exitedAt = now } = answer ?? {};
    return { pid, exitStatus, exitedAt };
  }

  /** Tells the end of a task in place of its shim. What has been told is not told again. */
  publishEnd(namespace: string, id: string, { pid, exitStatus, exitedAt }: TaskEnd): void {
    const { exchange } = this.context;
    exchange.publish(namespace, topics.exit, { containerId: id, id, pid, exitStatus, exitedAt });
    exchange.publish(namespace, topics.delete, { containerId: id, pid, exitStatus, exitedAt, id: "" });
  }

  async removeBundle(bundle: Bundle): Promise<void> {
    try {
      await bundle.remove();
    } catch (error) {
      this.context.log.error({ bundle: bundle.path, error: errorText(error) }, "cannot remove a bundle");
    }
  }
}

export function keyOf(namespace: string, id: string): string {
  return `${namespace}/${id}`;
}

export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function abortSignalOf(signal: CancelSignal): AbortSignal {
  const controller = new AbortController();
  signal.onCancel(() => controller.abort());
  return controller.signal;
}
