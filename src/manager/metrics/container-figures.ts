// What each container uses now, for Prometheus: made on request only, as every shim is asked. Served by metrics-server.ts.
import { Counter, Gauge, Registry } from "prom-client";
import type { TaskUsage } from "../../shims/usage.ts";

export interface ContainerFigures {
  readonly namespace: string;
  readonly id: string;
  readonly usage: TaskUsage;
}

const LABELS = ["namespace", "container"] as const;
const NS_PER_S = 1e9;

interface Figure {
  readonly name: string;
  readonly help: string;
  readonly kind: typeof Counter | typeof Gauge;
  /** undefined where there is none. */
  readonly of: (usage: TaskUsage) => number | undefined;
}

const FIGURES: readonly Figure[] = [
  {
    name: "holdfast_container_cpu_seconds_total",
    help: "Processor time that a container has used",
    kind: Counter,
    of: ({ cpuTotalNs }) => Number(cpuTotalNs) / NS_PER_S,
  },
  {
    name: "holdfast_container_memory_bytes",
    help: "Memory that a container uses, page cache included",
    kind: Gauge,
    of: ({ memoryBytes }) => Number(memoryBytes),
  },
  {
    name: "holdfast_container_memory_limit_bytes",
    help: "Memory that a container may use",
    kind: Gauge,
    of: ({ memoryLimitBytes }) => numberOf(memoryLimitBytes),
  },
  {
    name: "holdfast_container_processes",
    help: "Processes and threads in a container",
    kind: Gauge,
    of: ({ pids }) => Number(pids),
  },
  {
    name: "holdfast_container_io_read_bytes_total",
    help: "Bytes that a container has read from block devices",
    kind: Counter,
    of: ({ ioReadBytes }) => Number(ioReadBytes),
  },
  {
    name: "holdfast_container_io_written_bytes_total",
    help: "Bytes that a container has written to block devices",
    kind: Counter,
    of: ({ ioWriteBytes }) => Number(ioWriteBytes),
  },
  {
    name: "holdfast_container_output_dropped_bytes_total",
    help: "Bytes of output that nobody took, of a container that drops them (io.holdfast.stdout)",
    kind: Counter,
    of: ({ outputDroppedBytes }) => numberOf(outputDroppedBytes),
  },
  {
    name: "holdfast_container_output_waiting_bytes",
    help: "Bytes of output on the disk, of a container that spills them (io.holdfast.stdout)",
    kind: Gauge,
    of: ({ outputWaitingBytes }) => numberOf(outputWaitingBytes),
  },
];

function numberOf(figure: bigint | undefined): number | undefined {
  return figure === undefined ? undefined : Number(figure);
}

/** In Prometheus' text format. */
export function containerFiguresText(containers: readonly ContainerFigures[]): Promise<string> {
  const registry = new Registry();
  for (const { name, help, kind, of } of FIGURES) {
    const metric = new kind({ name, help, labelNames: LABELS, registers: [registry] });
    for (const { namespace, id, usage } of containers) {
      const value = of(usage);
      if (value !== undefined) metric.inc({ namespace, container: id }, value);
    }
  }
  return registry.metrics();
}
