// A container's resource use out of the figures of either cgroup version. Used by stats, top and inspect.
import { METRICS_V1, METRICS_V2, unpack } from "../api/any.ts";
import { Metrics as MetricsV1 } from "../api/generated/cgroups_v1.ts";
import { Metrics as MetricsV2 } from "../api/generated/cgroups_v2.ts";
import type { Any } from "../api/generated/google/protobuf/any.ts";
import type { DaemonClient } from "./daemon-client.ts";

/** Limits from here on stand for none. */
const NO_LIMIT = 2n ** 60n;

export interface Figures {
  readonly id: string;
  /** Milliseconds on performance.now() when they were asked for. */
  readonly atMs: number;
  readonly cpuNs: bigint;
  readonly memoryBytes: bigint;
  /** undefined if there is none. */
  readonly memoryLimitBytes: bigint | undefined;
  readonly pids: bigint;
  readonly readBytes: bigint;
  readonly writtenBytes: bigint;
}

/** Figures of the tasks that give any, by id; of all if `ids` is empty. */
export async function askFigures(daemon: DaemonClient, ids: readonly string[]): Promise<Figures[]> {
  const filters = ids.map((id) => `id==${JSON.stringify(id)}`);
  const { metrics } = await daemon.tasks.metrics({ filters });
  const atMs = performance.now();
  return metrics
    .filter(({ id }) => ids.length === 0 || ids.includes(id))
    .map(({ id, data }) => data && readFigures(id, data, atMs))
    .filter((figures) => figures !== undefined)
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

export function readFigures(id: string, data: Any, atMs: number): Figures | undefined {
  const v2 = unpack(data, METRICS_V2, MetricsV2);
  if (v2 !== undefined) {
    const { memory, cpu, pids, io } = v2;
    const sum = (key: "rbytes" | "wbytes"): bigint =>
      (io?.usage ?? []).reduce((total, entry) => total + entry[key], 0n);
    return {
      id,
      atMs,
      cpuNs: (cpu?.usageUsec ?? 0n) * 1000n,
      memoryBytes: memory?.usage ?? 0n,
      memoryLimitBytes: limit(memory?.usageLimit),
      pids: pids?.current ?? 0n,
      readBytes: sum("rbytes"),
      writtenBytes: sum("wbytes"),
    };
  }
  const v1 = unpack(data, METRICS_V1, MetricsV1);
  if (v1 === undefined) return undefined;
  const { memory, cpu, pids, blkio } = v1;
  const sum = (op: string): bigint =>
    (blkio?.ioServiceBytesRecursive ?? [])
      .filter((entry) => entry.op.toLowerCase() === op)
      .reduce((total, entry) => total + entry.value, 0n);
  return {
    id,
    atMs,
    cpuNs: cpu?.usage?.total ?? 0n,
    memoryBytes: memory?.usage?.usage ?? 0n,
    memoryLimitBytes: limit(memory?.usage?.limit),
    pids: pids?.current ?? 0n,
    readBytes: sum("read"),
    writtenBytes: sum("write"),
  };
}

/** Percent of one processor between two looks. */
export function cpuPercent(before: Figures, after: Figures): number {
  const ms = after.atMs - before.atMs;
  return ms <= 0 ? 0 : Math.max(0, Number(after.cpuNs - before.cpuNs) / 1e6 / ms) * 100;
}

function limit(bytes: bigint | undefined): bigint | undefined {
  return bytes === undefined || bytes === 0n || bytes >= NO_LIMIT ? undefined : bytes;
}
