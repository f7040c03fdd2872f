// The long-lived shim: wires reaper, events and task service to the socket, and knows how to leave. Called by bootstrap.ts in the forked child, and by
// resume.ts in a successor.
import { DebugDefinition } from "../api/generated/debug.ts";
import { TaskDefinition } from "../api/generated/task.ts";
import { TaskV3Definition } from "../api/task-v3.ts";
import type { OomWatch } from "../cgroup/oom.ts";
import { Publisher } from "../events/publisher.ts";
import { errorText, type Log } from "../log/log.ts";
import { within } from "../platform/deadline.ts";
import { failpoint } from "../platform/failpoint.ts";
import { type Keeper, type Platform, SIGCHLD, SIGUSR1 } from "../platform/platform.ts";
import { StateLog } from "../platform/state-log.ts";
import { Reaper } from "../reaper/reaper.ts";
import { withErrorClasses } from "../task/error-classes.ts";
import { TaskService } from "../task/service.ts";
import { CallRecords, keptConnections } from "../ttrpc/connection-record.ts";
import type { CallInfo } from "../ttrpc/definition.ts";
import { type ServerOptions, TtrpcServer } from "../ttrpc/server.ts";
import type { TtrpcError } from "../ttrpc/status.ts";
import { withFailpoints } from "./call-failpoints.ts";
import { Debug } from "./debug.ts";
import { Idle } from "./idle.ts";
import { Lifetime } from "./lifetime.ts";
import { type OwnProcessConfig, prepareProcess } from "./own-process.ts";
import { nameOfSelf, recordsPath } from "./self.ts";
import { DUMPING, ENDING, SERVED_SIGNALS } from "./signals.ts";
import { Succession } from "./succession.ts";

/** How long leaving may wait for the daemon to take the last events, in ms: it gives Shutdown 3 s. */
const FLUSH_TIMEOUT = 2_000;

/** What is asked so often, of so many shims at once, that it is to cost little. */
const QUESTIONS = ["state", "stats", "connect"] as const;

export interface ServeConfig extends OwnProcessConfig {
  readonly namespace: string;
  /** The bound socket's descriptor and path. */
  readonly listener: number;
  readonly socket: string;
  /** Of the socket's file, while this shim, or an earlier one that it goes on for, has it: another's may come to stand there. */
  readonly socketInode?: number;
  /** The daemon's events socket; empty for none. */
  readonly eventsAddress: string;
  /** Whether it is to have a keeper, where one can be had. */
  readonly wantsKeeper?: boolean;
  /** Whether the daemon has its containers taken over if it and its keeper are both killed (adopt.ts). */
  readonly isAdoptable?: boolean;
}

/** What an earlier shim has left: its records by key. `isAdopted`: nothing of what it had open was handed over; what could be was opened again. */
export interface Legacy {
  readonly records: ReadonlyMap<string, Uint8Array>;
  readonly isAdopted: boolean;
}

/** Turns this process into the shim, from where an earlier one was if it has left something. Returns at once; the loop does the rest. */
export function serve(platform: Platform, asked: ServeConfig, legacy?: Legacy): void {
  // Looked at once, by the first of a row of shims: before anybody can replace it.
  const config = { ...asked, socketInode: asked.socketInode ?? inodeAt(platform, asked.socket) };
  const log = prepareProcess(platform, config, legacy !== undefined && !legacy.isAdopted);
  const keeper = config.keeper > 0 ? platform.keeping.keeper() : null;
  const records = openRecords(platform, config, keeper, legacy?.records);
  const shim = new Shim(platform, config, log, records, keeper, legacy?.isAdopted === true);
  shim.listen();
  if (legacy !== undefined) shim.takeOver(legacy.records);
  if (keeper !== null) shim.heed(keeper);
  log.debug("shim serves", { socket: config.socket, pid: platform.self.pid() });
}

/** -1 if there is nothing. */
export function inodeAt({ files }: Platform, path: string): number {
  return files.stat(path)?.inode ?? -1;
}

/** The records, which from now on are written before anything can be seen from outside. */
function openRecords(
  platform: Platform,
  config: ServeConfig,
  keeper: Keeper | null,
  kept: Legacy["records"] = new Map(),
): StateLog {
  const records = new StateLog(platform);
  records.seed(kept);
  platform.keeping.beforeEffects(() => records.flush());
  // Before the file is opened: whoever reads it finds all that there has to be.
  records.put("shim", () => JSON.stringify(config));
  if (config.isAdoptable) {
    records.put("self", () => JSON.stringify(nameOfSelf(platform, config.keeper)));
    const fd = keeper?.state ?? platform.fds.memoryFile("holdfast-state");
    records.open(fd, recordsPath(config.bundle));
  } else if (keeper !== null) records.open(keeper.state);
  return records;
}

class Shim {
  readonly #platform: Platform;
  readonly #config: ServeConfig;
  readonly #log: Log;
  readonly #reaper: Reaper;
  readonly #events: Publisher;
  readonly #calls: CallRecords;
  readonly #server: TtrpcServer;
  readonly #service: TaskService;
  readonly #debug: Debug;
  readonly #hasAdopted: boolean;
  readonly #idle: Idle;
  readonly #lifetime: Lifetime;
  #listener: { close(): void } | undefined;
  #isLeaving = false;

  constructor(
    platform: Platform,
    config: ServeConfig,
    log: Log,
    records: StateLog,
    keeper: Keeper | null,
    hasAdopted: boolean,
  ) {
    const { clock } = platform;
    const { namespace, bundle, eventsAddress } = config;
    this.#platform = platform;
    this.#config = config;
    this.#log = log;
    this.#hasAdopted = hasAdopted;
    this.#reaper = new Reaper(platform);
    const spill = { directory: bundle, isKept: config.isAdoptable === true };
    const address = { namespace, address: eventsAddress, spill };
    this.#events = new Publisher(platform, log, address, records);
    this.#idle = new Idle(platform);
    this.#calls = new CallRecords(records);
    this.#server = new TtrpcServer(clock, this.#observer(), this.#calls);
    this.#lifetime = new Lifetime(clock, () => this.#leave());
    this.#service = this.#makeService(records);
    this.#debug = this.#makeDebug(records, keeper);
    const tasks = withFailpoints(TaskDefinition, withErrorClasses(TaskDefinition, this.#service));
    this.#server.register(TaskDefinition, tasks, [TaskV3Definition.fullName], QUESTIONS);
    this.#server.register(DebugDefinition, this.#debug);
    this.#idle.touch();
  }

  /** Takes signals, and connections of its own user. */
  listen(): void {
    const { self, net } = this.#platform;
    const server = this.#server;
    self.onSignals(SERVED_SIGNALS, (signal) => this.#signalled(signal));
    const owner = self.effectiveUid();
    this.#listener = net.serve(
      this.#config.listener,
      (stream) => {
        // The socket's mode says so already, as long as nobody changes it.
        if (stream.peer?.uid === owner) server.accept(stream);
        else stream.close();
      },
      (error) => this.#log.error("no connection can be taken for now", { error: errorText(error) }),
    );
  }

  takeOver(kept: Legacy["records"]): void {
    const { net, text, keeping } = this.#platform;
    failpoint("resume:begun");
    // Half taken over it must not be written down: the next one would take it for the truth.
    keeping.asOne(() => {
      this.#events.takeOver(kept);
      this.#service.takeOver(kept);
    });
    failpoint("resume:containers");
    this.#reaper.takeKept();
    for (const connection of keptConnections(kept, text.decode)) {
      if (!connection.isInDoubt) this.#server.accept(net.adopt(connection.fd), connection);
      else this.#calls.forget(connection);
    }
  }

  /** The start is over, and the keeper tells of what it reaps. */
  heed({ poke }: Keeper): void {
    const { fds, keeping } = this.#platform;
    fds.watch(poke, () => {
      fds.read(poke, 8);
      this.#reaper.takeKept();
    });
    keeping.started();
  }

  #makeService(records: StateLog): TaskService {
    const { keeper, eventsAddress, namespace, oomScoreAdj, bundle, isAdoptable = false } = this.#config;
    const { net } = this.#platform;
    const context = {
      platform: this.#platform,
      reaper: this.#reaper,
      events: this.#events,
      log: this.#log,
      records,
      keeper,
      isAdoptable,
      hasAdopted: this.#hasAdopted,
      home: bundle,
      daemonAnswers: () => eventsAddress === "" || net.answers(eventsAddress),
      namespace,
      unstarted: { bytes: 0 },
      oomWatches: new Set<OomWatch>(),
      oomScoreAdj,
    };
    return new TaskService(context, {
      containersChanged: (count) => this.#lifetime.containersChanged(count),
      shutdown: () => void this.#leave(),
    });
  }

  #makeDebug(records: StateLog, keeper: Keeper | null): Debug {
    const platform = this.#platform;
    const server = this.#server;
    const service = this.#service;
    const abandon = (): void => service.abandon();
    const parts = { platform, log: this.#log, records, reaper: this.#reaper, server, abandon };
    const succession = new Succession(parts, keeper?.pid ?? 0);
    return new Debug(platform, {
      runningCalls: () => server.activeCalls(),
      containers: () => service.dump(),
      waitingEvents: () => this.#events.waiting,
      upgrade: (path) => succession.upgrade(path),
    });
  }

  #observer(): ServerOptions {
    return {
      finished: (call: CallInfo, ms: number, error: TtrpcError | undefined) => {
        this.#log.debug("call", { method: call.method, ms: Math.round(ms), error: error?.message ?? "" });
        this.#debug.finished(call, ms, error);
        this.#idle.touch();
      },
      connectionsChanged: (count: number) => {
        this.#lifetime.connectionsChanged(count);
        // Who connects may well be the daemon, back again.
        this.#events.tryNow();
      },
    };
  }

  #signalled(signal: number): void {
    this.#idle.touch();
    if (signal === SIGCHLD) this.#reaper.childChanged();
    if (DUMPING.includes(signal)) this.#log.info("dump", { signal, dump: this.#debug.dump().json });
    if (ENDING.includes(signal)) void this.#leave();
    if (signal === SIGUSR1) failpoint("dump");
  }

  /** Takes no more calls, answers those that it has, waits for the last events, all in bounds, and ends the process. */
  async #leave(): Promise<void> {
    if (this.#isLeaving) return;
    this.#isLeaving = true;
    const platform = this.#platform;
    const config = this.#config;
    const events = this.#events;
    // First the name: whoever starts a shim from here on makes a socket of its own, and must find this one's place free, or keep its own.
    if (inodeAt(platform, config.socket) === config.socketInode) platform.files.remove(config.socket);
    failpoint("leave:unnamed");
    this.#listener?.close();
    events.hurry();
    // A daemon's Wait may go on for ever: who leaves does not wait for it.
    const answered = this.#server.shutdown((call) => call.method === "Wait");
    await within(
      platform.clock,
      FLUSH_TIMEOUT,
      answered.then(() => events.flushed()),
    );
    failpoint("leave:done");
    platform.self.exit(0);
  }
}
