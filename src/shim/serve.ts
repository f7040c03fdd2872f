// The long-lived shim: wires reaper, events and task service to the socket, and knows how to leave. Called by bootstrap.ts in the forked child.
import { DebugDefinition } from "../api/generated/debug.ts";
import { TaskDefinition } from "../api/generated/task.ts";
import { TaskV3Definition } from "../api/task-v3.ts";
import { Publisher } from "../events/publisher.ts";
import { createLog, errorText, type Log } from "../log/log.ts";
import { within } from "../platform/deadline.ts";
import {
  type Platform,
  SIGCHLD,
  SIGINT,
  SIGQUIT,
  SIGTERM,
  SIGUSR1,
  type Timer,
} from "../platform/platform.ts";
import { StateLog } from "../platform/state-log.ts";
import { Reaper } from "../reaper/reaper.ts";
import { withErrorClasses } from "../task/error-classes.ts";
import { TaskService } from "../task/service.ts";
import { CallRecords, keptConnections } from "../ttrpc/connection-record.ts";
import type { CallInfo } from "../ttrpc/definition.ts";
import { TtrpcServer } from "../ttrpc/server.ts";
import type { TtrpcError } from "../ttrpc/status.ts";
import { recordCrash } from "./crash.ts";
import { Debug } from "./debug.ts";
import { Lifetime } from "./lifetime.ts";
import { Succession } from "./succession.ts";

/** How long leaving may wait for the daemon to take the last events, in ms: it gives Shutdown 3 s. */
const FLUSH_TIMEOUT = 2_000;
/** How long nothing must have happened before memory is given back, in ms. */
const TRIM_AFTER = 300;

/** Faults of the program itself (ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS), and what nobody can take (KILL, STOP). PIPE is ignored from the start. */
const NOT_TAKEN = [4, 5, 6, 7, 8, 9, 11, 13, 19, 31];
/** The signals that a serving shim takes: all others. None of them ends it but those that ask for it; a shim takes its container along. */
export const SERVED_SIGNALS: readonly number[] = Array.from({ length: 64 }, (_, index) => index + 1).filter(
  (signal) => !NOT_TAKEN.includes(signal),
);
const ENDING: readonly number[] = [SIGINT, SIGQUIT, SIGTERM];
/** What operators send for a dump. */
const DUMPING: readonly number[] = [SIGUSR1, SIGQUIT];

export interface ServeConfig {
  readonly namespace: string;
  readonly bundle: string;
  /** The bound socket's descriptor and path. */
  readonly listener: number;
  readonly socket: string;
  /** The daemon's events socket; empty for none. */
  readonly eventsAddress: string;
  /** The daemon's OOM score. */
  readonly oomScoreAdj: number;
  readonly debug: boolean;
  /** Its keeper's pid; 0 without one. */
  readonly keeper: number;
}

/** Turns this process into the shim, from where an earlier one was if its records are `kept`. Returns at once; the loop does the rest. */
export function serve(platform: Platform, config: ServeConfig, kept?: ReadonlyMap<string, Uint8Array>): void {
  const { self, net, clock, keeping } = platform;
  const isKept = config.keeper > 0;
  // A program that goes on in the same process has one.
  if (isKept || kept === undefined) self.newSession();
  if (kept === undefined) detachStdio(platform);
  const log = createLog(platform, config.debug, openLogFifo(platform, config.bundle));
  self.onUncaught((error) => {
    log.error("internal error", { error: errorText(error) });
    recordCrash(platform, config.bundle, error);
  });
  self.becomeSubreaper();
  // The next one inherits the keeper's.
  if (kept === undefined)
    raiseOomScore(platform, log, config.oomScoreAdj, ["self", ...(isKept ? [String(config.keeper)] : [])]);
  self.raiseFileLimit();

  const records = new StateLog(platform);
  const keeper = isKept ? keeping.keeper() : null;
  records.seed(kept ?? new Map());
  keeping.beforeEffects(() => records.flush());
  if (keeper !== null) records.open(keeper.state);
  records.put("shim", () => JSON.stringify(config));
  const reaper = new Reaper(platform);
  const events = new Publisher(
    platform,
    log,
    { namespace: config.namespace, address: config.eventsAddress, directory: config.bundle },
    records,
  );
  const idle = new Idle(platform);
  const observers = {
    finished(call: CallInfo, ms: number, error: TtrpcError | undefined) {
      log.debug("call", { method: call.method, ms: Math.round(ms), error: error?.message ?? "" });
      debug.finished(call, ms, error);
      idle.touch();
    },
    connectionsChanged(count: number) {
      lifetime.connectionsChanged(count);
      // Who connects may well be the daemon, back again.
      events.tryNow();
    },
  };
  const calls = new CallRecords(records);
  const server = new TtrpcServer(clock, observers, calls);
  const inode = platform.files.stat(config.socket)?.inode;
  let leaving = false;
  /** Takes no more calls, answers those that it has, waits for the last events, all in bounds, and ends the process. */
  const leave = async (): Promise<void> => {
    if (leaving) return;
    leaving = true;
    // First the name: whoever starts a shim from here on makes a socket of its own, and must find this one's place free, or keep its own.
    if (platform.files.stat(config.socket)?.inode === inode) platform.files.remove(config.socket);
    listener.close();
    events.hurry();
    // A daemon's Wait may go on for ever: who leaves does not wait for it.
    const answered = server.shutdown((call) => call.method === "Wait");
    await within(
      clock,
      FLUSH_TIMEOUT,
      answered.then(() => events.flushed()),
    );
    self.exit(0);
  };
  const lifetime = new Lifetime(clock, leave);
  const service = new TaskService(
    {
      platform,
      reaper,
      events,
      log,
      records,
      keeper: config.keeper,
      daemonAnswers: () => config.eventsAddress === "" || net.answers(config.eventsAddress),
      namespace: config.namespace,
      oomScoreAdj: config.oomScoreAdj,
    },
    { containersChanged: (count) => lifetime.containersChanged(count), shutdown: () => void leave() },
  );
  server.register(TaskDefinition, withErrorClasses(TaskDefinition, service), [TaskV3Definition.fullName]);
  const succession = new Succession(
    { platform, log, records, reaper, server, abandon: () => service.abandon() },
    keeper?.pid ?? 0,
  );
  const debug = new Debug(platform, {
    runningCalls: () => server.activeCalls(),
    containers: () => service.dump(),
    waitingEvents: () => events.waiting,
    upgrade: (path) => succession.upgrade(path),
  });
  server.register(DebugDefinition, debug);
  self.onSignals(SERVED_SIGNALS, (signal) => {
    idle.touch();
    if (signal === SIGCHLD) reaper.childChanged();
    if (DUMPING.includes(signal)) log.info("dump", { signal, dump: debug.dump().json });
    if (ENDING.includes(signal)) void leave();
    if (signal === SIGUSR1 && self.environment.HOLDFAST_FAILPOINT === "dump")
      throw new Error("a test's failpoint");
  });
  const owner = self.effectiveUid();
  const listener = net.serve(
    config.listener,
    (stream) => {
      // The socket's mode says so already, as long as nobody changes it.
      if (stream.peer?.uid === owner) server.accept(stream);
      else stream.close();
    },
    (error) => log.error("no connection can be taken for now", { error: errorText(error) }),
  );
  if (kept !== undefined) {
    events.takeOver(kept);
    service.takeOver(kept);
    reaper.takeKept();
    for (const connection of keptConnections(kept, platform.text.decode)) {
      if (!connection.isInDoubt) server.accept(net.adopt(connection.fd), connection);
      else calls.forget(connection);
    }
  }
  if (keeper !== null) {
    platform.fds.watch(keeper.poke, () => {
      platform.fds.read(keeper.poke, 8);
      reaper.takeKept();
    });
    keeping.started();
  }
  log.debug("shim serves", { socket: config.socket, pid: self.pid() });
  idle.touch();
}

/** The daemon waits for the end of the pipes that `start` was given, so nothing of them may be kept. */
function detachStdio({ fds }: Platform): void {
  const input = fds.openRead("/dev/null");
  const output = fds.openWrite("/dev/null");
  for (const fd of [0, 1, 2]) fds.duplicateTo(fd === 0 ? input : output, fd);
  fds.close(input);
  fds.close(output);
}

/**
 * The daemon reads the shim's log from a fifo in the bundle. Both ends are held, so that a daemon that is away is no error; when
 * nobody reads for long, lines are dropped rather than waited for. Without a fifo there is no log.
 */
function openLogFifo({ fds, files, text }: Platform, bundle: string): (line: string) => void {
  const path = `${bundle}/log`;
  if (files.stat(path)?.kind !== "fifo") return () => {};
  fds.openRead(path);
  const fd = fds.openWrite(path);
  fds.duplicateTo(fd, 2);
  return (line) => {
    fds.write(fd, text.encode(line));
  };
}

/** The shim goes before its daemon when memory runs out (docs/shim-protocol.md). */
function raiseOomScore(platform: Platform, log: Log, daemons: number, processes: readonly string[]): void {
  try {
    for (const process of processes) {
      platform.files.write(`/proc/${process}/oom_score_adj`, String(Math.min(daemons + 1, 1000)));
    }
  } catch (error) {
    log.warning("failed to adjust the OOM score", { error: errorText(error) });
  }
}

/** Gives memory back when nothing has happened for a while: a burst of calls leaves a heap several times the size that an idle shim needs. */
class Idle {
  readonly #platform: Platform;
  #timer: Timer | undefined;

  constructor(platform: Platform) {
    this.#platform = platform;
  }

  touch(): void {
    this.#timer?.cancel();
    this.#timer = this.#platform.clock.after(TRIM_AFTER, () => {
      this.#timer = undefined;
      this.#platform.self.trimMemory();
    });
  }
}
