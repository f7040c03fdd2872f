// Figures for Prometheus. Counted by daemon.ts and tasks.ts, served by metrics-server.ts.

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { Cause, type Exit } from "../../api/generated/history.ts";
import { nsFromTimestamp } from "../../api/timestamp.ts";

/** In seconds. */
const CALL_BUCKETS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10];
/** From a tenth of a second to a month. */
const RUN_BUCKETS = [0.1, 1, 10, 60, 600, 3600, 21_600, 86_400, 604_800, 2_592_000];
const MAX_TOPICS = 100;
const NS_PER_S = 1e9;

/** What an exit is counted under. */
const CAUSES: Readonly<Record<Cause, string>> = {
  [Cause.CAUSE_UNKNOWN]: "unknown",
  [Cause.CAUSE_EXITED]: "exited",
  [Cause.CAUSE_OOM]: "oom",
  [Cause.CAUSE_SIGNAL]: "signal",
  [Cause.CAUSE_KILL_REQUEST]: "kill_request",
  [Cause.CAUSE_SHIM_DIED]: "shim_died",
  [Cause.CAUSE_STATUS_UNKNOWN]: "status_unknown",
  [Cause.CAUSE_DELETED_BY_FORCE]: "deleted_by_force",
};

/** One container on record. */
export interface ContainerState {
  readonly namespace: string;
  /** "stopped" and its like; "none" without a task. */
  readonly state: string;
}

export class Metrics {
  readonly #registry = new Registry();
  readonly #calls: Histogram;
  readonly #events: Counter;
  readonly #shimStarts: Counter;
  readonly #exits: Counter;
  readonly #ooms: Counter;
  readonly #starts: Counter;
  readonly #runs: Histogram;
  readonly #topics = new Set<string>();

  constructor() {
    const registers = [this.#registry];
    this.#calls = new Histogram({
      name: "holdfast_call_seconds",
      help: "Time that calls of the gRPC API took",
      labelNames: ["service", "method", "code"],
      buckets: CALL_BUCKETS,
      registers,
    });
    this.#events = new Counter({
      name: "holdfast_events_total",
      help: "Events published",
      labelNames: ["topic"],
      registers,
    });
    this.#shimStarts = new Counter({
      name: "holdfast_shim_starts_total",
      help: "Shims started",
      labelNames: ["result"],
      registers,
    });
    this.#exits = new Counter({
      name: "holdfast_task_exits_total",
      help: "Tasks that have ended, by why, and by whether their status was 0",
      labelNames: ["cause", "result"],
      registers,
    });
    this.#ooms = new Counter({
      name: "holdfast_task_ooms_total",
      help: "Times that the kernel has killed in a container for want of memory",
      registers,
    });
    this.#starts = new Counter({
      name: "holdfast_task_starts_total",
      help: "Tasks that have been started",
      registers,
    });
    this.#runs = new Histogram({
      name: "holdfast_task_run_seconds",
      help: "Time from the start of a task to its end",
      buckets: RUN_BUCKETS,
      registers,
    });
  }

  observeCall(service: string, method: string, code: string, seconds: number): void {
    this.#calls.observe({ service, method, code }, seconds);
  }

  /** Clients may publish whatever they call it: what comes after the first hundred topics is counted together. */
  countEvent(topic: string): void {
    if (this.#topics.size < MAX_TOPICS) this.#topics.add(topic);
    this.#events.inc({ topic: this.#topics.has(topic) ? topic : "other" });
  }

  countShimStart(isGood: boolean): void {
    this.#shimStarts.inc({ result: isGood ? "ok" : "failed" });
  }

  countStart(): void {
    this.#starts.inc();
  }

  countOom(): void {
    this.#ooms.inc();
  }

  countExit({ cause, status, startedAt, exitedAt }: Exit): void {
    this.#exits.inc({ cause: CAUSES[cause] ?? "unknown", result: status === 0 ? "ok" : "failed" });
    if (startedAt === undefined || exitedAt === undefined) return;
    this.#runs.observe(Number(nsFromTimestamp(exitedAt) - nsFromTimestamp(startedAt)) / NS_PER_S);
  }

  trackContainers(containers: () => Iterable<ContainerState>): void {
    new Gauge({
      name: "holdfast_containers",
      help: "Containers on record, by the state of their tasks",
      labelNames: ["namespace", "state"],
      registers: [this.#registry],
      collect() {
        this.reset();
        for (const { namespace, state } of containers()) this.inc({ namespace, state });
      },
    });
  }

  /** `namespaces` has one entry for each task. */
  trackTasks(namespaces: () => Iterable<string>): void {
    new Gauge({
      name: "holdfast_tasks",
      help: "Tasks that have a shim",
      labelNames: ["namespace"],
      registers: [this.#registry],
      collect() {
        this.reset();
        for (const namespace of namespaces()) this.inc({ namespace });
      },
    });
  }

  /** From now on the process is measured too. To be called once. */
  measureProcess(): void {
    collectDefaultMetrics({ register: this.#registry, prefix: "holdfast_" });
    // Named like counters, which they are not; the ones without _total say the same by kind.
    for (const name of ["handles", "requests", "resources"])
      this.#registry.removeSingleMetric(`holdfast_nodejs_active_${name}_total`);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
