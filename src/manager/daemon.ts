// holdfastd as a whole: opens the store, serves, finds its containers again, and ends in order. cmd/daemon/main.ts runs it.
import { mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Logger } from "pino";
import { containerOfEvent, type EventFields, execOfEvent } from "../api/event-types.ts";
import { ContainersDefinition } from "../api/generated/containers.ts";
import { type Envelope, EventsDefinition } from "../api/generated/events.ts";
import { EventsDefinition as ShimEventsDefinition } from "../api/generated/forward.ts";
import { HealthDefinition } from "../api/generated/health.ts";
import { HistoryDefinition } from "../api/generated/history.ts";
import { IntrospectionDefinition } from "../api/generated/introspection.ts";
import { NamespacesDefinition } from "../api/generated/namespaces.ts";
import { TasksDefinition } from "../api/generated/tasks.ts";
import { VersionDefinition } from "../api/generated/version.ts";
import { timestampFromNs } from "../api/timestamp.ts";
import { listen, nodeClock } from "../platform/node.ts";
import type { Listener } from "../platform/platform.ts";
import type { ServiceDefinition } from "../ttrpc/definition.ts";
import { TtrpcServer } from "../ttrpc/server.ts";
import { Code, codeName } from "../ttrpc/status.ts";
import { containersService, removeContainer } from "./api/containers.ts";
import { eventsService, shimEventsService } from "./api/events.ts";
import { healthService } from "./api/health.ts";
import { historyService } from "./api/history.ts";
import { introspectionService } from "./api/introspection.ts";
import { namespacesService } from "./api/namespaces.ts";
import { tasksService } from "./api/tasks.ts";
import { versionService } from "./api/version.ts";
import { claimSocket } from "./claim-socket.ts";
import type { Config } from "./config.ts";
import { errorText } from "./deferred.ts";
import { serveImages } from "./images/image-services.ts";
import { Images } from "./images/images.ts";
import { acquireLock, type Lock } from "./lock.ts";
import type { ContainerFigures } from "./metrics/container-figures.ts";
import { type ContainerState, Metrics } from "./metrics/metrics.ts";
import { serveMetrics } from "./metrics/metrics-server.ts";
import { Histories } from "./records/history.ts";
import { Store } from "./records/store.ts";
import { Exchange } from "./server/exchange.ts";
import { type FinishedCall, GrpcServer, type Handlers } from "./server/grpc-server.ts";
import { AutoRemove } from "./tasks/auto-remove.ts";
import { removalsDone } from "./tasks/bundle.ts";
import { UNKNOWN_STATUS } from "./tasks/dead-shims.ts";
import { LogFifos } from "./tasks/log-fifos.ts";
import { Reattachment } from "./tasks/reattach.ts";
import { Runtimes } from "./tasks/runtimes.ts";
import type { Task, TaskPhase } from "./tasks/task.ts";
import { Tasks } from "./tasks/tasks.ts";

/** Calls that change a container: its timeline tells them. */
const STEPS = new Set([
  "Create",
  "Start",
  "Kill",
  "Exec",
  "Pause",
  "Resume",
  "Update",
  "Checkpoint",
  "Delete",
  "DeleteProcess",
]);

/** Of a task, after an event about its init. */
const PHASES: Readonly<Record<string, TaskPhase>> = {
  "/tasks/create": "created",
  "/tasks/start": "running",
  "/tasks/paused": "paused",
  "/tasks/resumed": "running",
  "/tasks/exit": "stopped",
};

export class Daemon {
  readonly #config: Config;
  readonly #log: Logger;
  readonly #lock: Lock;
  readonly #store: Store;
  readonly #histories: Histories;
  readonly #exchange: Exchange;
  readonly #metrics: Metrics;
  readonly #fifos: LogFifos;
  readonly #tasks: Tasks;
  readonly #autoRemove: AutoRemove;
  readonly #images: Images;
  readonly #grpc: GrpcServer;
  readonly #ttrpc: TtrpcServer;
  readonly #listeners: Listener[] = [];

  private constructor(config: Config, log: Logger, lock: Lock) {
    this.#config = config;
    this.#log = log;
    this.#lock = lock;
    this.#store = new Store(config.root);
    this.#histories = new Histories(this.#store.histories, (error) =>
      log.error({ error: errorText(error) }, "cannot write the history of a container"),
    );
    this.#metrics = new Metrics();
    this.#exchange = new Exchange({
      note: (envelope, fields) => this.#note(envelope, fields),
      published: (envelope, fields) => this.#published(envelope, fields),
    });
    this.#fifos = new LogFifos(join(config.state, "fifos"));
    this.#tasks = new Tasks({
      place: config,
      timeouts: config.timeouts,
      shims: {
        address: config.address,
        publishBinary: process.argv[1] ?? "holdfastd",
        keeper: config.keeper ?? true,
        adopt: config.adopt ?? true,
        debug: config.logLevel === "debug" || config.logLevel === "trace",
      },
      runtimes: new Runtimes(config.runtimes),
      exchange: this.#exchange,
      histories: this.#histories,
      fifos: this.#fifos,
      metrics: this.#metrics,
      log,
    });
    const released = (): void => this.#images.collectSoon();
    const records = { store: this.#store, exchange: this.#exchange, released };
    this.#autoRemove = new AutoRemove({
      store: this.#store,
      tasks: this.#tasks,
      histories: this.#histories,
      removeContainer: async (namespace, id) => {
        await removeContainer(records, namespace, id);
        this.#histories.retire(namespace, id);
      },
      log,
    });
    this.#images = new Images(config.root, this.#store, this.#exchange, (error) =>
      log.error({ error: errorText(error) }, "a collection failed"),
    );
    this.#grpc = new GrpcServer((call) => this.#finished(call));
    this.#ttrpc = new TtrpcServer(nodeClock);
  }

  /** Resolves when the API is served and every living shim's task is listed. Rejects if another daemon holds the root, or a path cannot be used. */
  static async start(config: Config, log: Logger): Promise<Daemon> {
    await mkdir(config.root, { recursive: true, mode: 0o700 });
    await mkdir(config.state, { recursive: true, mode: 0o711 });
    const lock = await lockAll([config.root, config.state], config.address);
    try {
      const daemon = new Daemon(config, log, lock);
      await daemon.#serve();
      return daemon;
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  async #serve(): Promise<void> {
    const { address } = this.#config;
    await mkdir(dirname(address), { recursive: true, mode: 0o711 });
    await claimSocket(address);
    await claimSocket(`${address}.ttrpc`);
    await this.#load();
    await this.#register();
    this.#listeners.push(await listen(`${address}.ttrpc`, 0o600, (stream) => this.#ttrpc.accept(stream)));
    const find = (namespace: string, id: string) => this.#store.containers.find(namespace, id);
    const { settled } = await new Reattachment(this.#tasks, find).run();
    await this.#grpc.listen(address);
    const { metricsAddress } = this.#config;
    if (metricsAddress !== "")
      this.#listeners.push(
        await serveMetrics(
          { metrics: this.#metrics, containers: () => this.#containerFigures() },
          metricsAddress,
          (text) => this.#log.warn(text),
        ),
      );
    this.#log.info({ address, pid: process.pid, tasks: this.#tasks.list().length }, "serving");
    void this.#fifos
      .refill()
      .catch((error) => this.#log.error({ error: errorText(error) }, "cannot make fifos"));
    this.#autoRemove.resume();
    void settled.then(() => this.#log.info("containers of earlier daemons are settled"));
  }

  async #load(): Promise<void> {
    await this.#store.load((bad) => this.#log.error(bad, "cannot read a record; it is set aside"));
    for (const namespace of this.#store.containers.namespaces()) {
      for (const id of this.#store.containers.ids(namespace)) this.#histories.open(namespace, id);
    }
    this.#histories.removeOrphans();
  }

  async #register(): Promise<void> {
    const names = new Set<string>();
    const serve = <D extends ServiceDefinition>(definition: D, handlers: Handlers<D>): void => {
      names.add(definition.fullName);
      this.#grpc.register(definition, handlers);
    };
    serve(VersionDefinition, versionService);
    serve(NamespacesDefinition, namespacesService(this.#store, this.#exchange));
    serve(
      ContainersDefinition,
      containersService(
        {
          store: this.#store,
          exchange: this.#exchange,
          histories: this.#histories,
          released: () => this.#images.collectSoon(),
        },
        (namespace, id) => this.#autoRemove.created(namespace, id),
      ),
    );
    serve(TasksDefinition, tasksService(this.#tasks, this.#store));
    serveImages(this.#images, this.#store, this.#config, serve);
    serve(EventsDefinition, eventsService(this.#exchange));
    serve(IntrospectionDefinition, introspectionService(await this.#store.uuid(), names, this.#images));
    serve(HistoryDefinition, historyService(this.#histories, this.#tasks, this.#store));
    serve(HealthDefinition, healthService(names));
    this.#metrics.trackTasks(() => this.#tasks.list().map(({ namespace }) => namespace));
    this.#metrics.trackContainers(() => this.#containerStates());
    this.#ttrpc.register(ShimEventsDefinition, shimEventsService(this.#exchange));
  }

  #containerStates(): ContainerState[] {
    const { containers } = this.#store;
    return containers.namespaces().flatMap((namespace) =>
      containers.ids(namespace).map((id) => {
        return { namespace, state: this.#tasks.find(namespace, id)?.phase ?? "none" };
      }),
    );
  }

  /** Without those whose shim does not answer in time. */
  async #containerFigures(): Promise<ContainerFigures[]> {
    const timeoutMs = this.#config.timeouts.shimCall;
    const asked = this.#tasks.list().map(async (task) => {
      const usage = await task.currentUsage(timeoutMs);
      return usage && { namespace: task.namespace, id: task.id, usage };
    });
    return (await Promise.all(asked)).filter((figures) => figures !== undefined);
  }

  /** Sees every event before anybody gets it. */
  #note(envelope: Envelope, fields: EventFields | undefined): boolean {
    const { topic, namespace } = envelope;
    if (!this.#histories.note(envelope, fields)) return false;
    this.#metrics.countEvent(topic);
    if (execOfEvent(topic, fields) === "")
      this.#count(topic, namespace, containerOfEvent(topic, fields) ?? "");
    const task = this.#tasks.find(namespace, containerOfEvent(topic, fields) ?? "");
    if (task !== undefined && execOfEvent(topic, fields) === "") {
      task.phase = PHASES[topic] ?? task.phase;
      if (topic === "/tasks/exit") this.#ended(task);
    }
    return true;
  }

  #ended(task: Task): void {
    const { namespace, id } = task;
    const isUnknown = this.#histories.ended(namespace, id)?.status === UNKNOWN_STATUS;
    if (isUnknown && task.bundle.isEndUnknown()) this.#histories.noteUnknown(namespace, id);
    void this.#tasks.noteUsage(task);
  }

  #count(topic: string, namespace: string, id: string): void {
    if (topic === "/tasks/start") this.#metrics.countStart();
    if (topic === "/tasks/oom") this.#metrics.countOom();
    const exit = topic === "/tasks/exit" ? this.#histories.ended(namespace, id) : undefined;
    if (exit !== undefined) this.#metrics.countExit(exit);
  }

  /** The event is on its way to the subscribers. */
  #published(envelope: Envelope, fields: EventFields | undefined): void {
    const { topic, namespace } = envelope;
    this.#histories.published(envelope, fields);
    const id = containerOfEvent(topic, fields);
    if (topic === "/tasks/exit" && id !== undefined && execOfEvent(topic, fields) === "")
      this.#autoRemove.ended(namespace, id);
  }

  #finished(call: FinishedCall): void {
    const { service, method, namespace, request, startedAt, took, error } = call;
    this.#metrics.observeCall(service, method, codeName(error?.code ?? Code.OK), took / 1000);
    this.#log.trace({ service, method, namespace, took, error: error?.message }, "call");
    if (service !== TasksDefinition.fullName || !STEPS.has(method)) return;
    const { containerId, execId = "" } = request as { containerId: string; execId?: string };
    this.#histories.noteStep(namespace, containerId, {
      at: timestampFromNs(BigInt(startedAt) * 1_000_000n),
      what: `tasks.${method}`,
      execId,
      tookNs: BigInt(Math.round(took * 1e6)),
      detail: error?.message ?? detailOf(call),
    });
  }

  /** What we are at: our answer to SIGUSR1. Times in ms, memory in bytes. */
  dump(): object {
    return {
      tasks: this.#tasks.list().map((task) => ({
        namespace: task.namespace,
        id: task.id,
        pid: task.pid,
        phase: task.phase,
        shim: task.address.address,
        isConnected: !task.link.isClosed,
        waiting: task.waiting,
      })),
      reserved: this.#tasks.reserved,
      calls: this.#grpc.underWay,
      subscribers: this.#exchange.subscribers,
      memory: process.memoryUsage(),
      resources: process.getActiveResourcesInfo().reduce<Record<string, number>>((counts, name) => {
        counts[name] = (counts[name] ?? 0) + 1;
        return counts;
      }, {}),
      uptimeMs: Math.round(process.uptime() * 1000),
    };
  }

  /** Stops taking calls, lets running ones end, in bounds, and lets go of the containers, which run on. */
  async stop(): Promise<void> {
    const { address, timeouts } = this.#config;
    await rm(address, { force: true });
    for (const listener of this.#listeners) listener.close();
    await this.#grpc.drain(timeouts.drain);
    this.#autoRemove.close();
    this.#tasks.close();
    this.#images.close();
    this.#ttrpc.close();
    await rm(`${address}.ttrpc`, { force: true });
    this.#fifos.close();
    await removalsDone();
    await this.#store.close();
    this.#lock.release();
  }
}

function detailOf({ method, request, client }: FinishedCall): string {
  if (method !== "Kill") return "";
  const { signal } = request as { signal: number };
  return `signal ${signal}, asked for by ${client}`;
}

/** One daemon for each of these directories. */
async function lockAll(directories: readonly string[], address: string): Promise<Lock> {
  const locks: Lock[] = [];
  const release = (): void => {
    for (const lock of locks.splice(0)) lock.release();
  };
  try {
    for (const directory of directories) locks.push(await acquireLock(directory, address));
  } catch (error) {
    release();
    throw error;
  }
  return { release };
}
