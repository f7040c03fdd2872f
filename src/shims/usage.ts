// What a task has used, out of the figures of either cgroup version: one reading for holdfastd's records and metrics, and for holdfast's tables.
import { METRICS_V1, METRICS_V2, unpack } from "../api/any.ts";
import { Metrics as MetricsV1 } from "../api/generated/cgroups_v1.ts";
import { Metrics as MetricsV2 } from "../api/generated/cgroups_v2.ts";
import type { Any } from "../api/generated/google/protobuf/any.ts";

const NS_PER_USEC = 1000n;
/** Limits from here on stand for none. */
const NO_LIMIT = 2n ** 60n;

export interface TaskUsage {
  readonly cpuUserNs: bigint;
  readonly cpuKernelNs: bigint;
  readonly cpuTotalNs: bigint;
  readonly memoryBytes: bigint;
  readonly memoryPeakBytes: bigint;
  /** undefined if there is none. */
  readonly memoryLimitBytes: bigint | undefined;
  readonly pids: bigint;
  readonly ioReadBytes: bigint;
  readonly ioWriteBytes: bigint;
  /** Of its output: what nobody will see, and what waits on the disk. undefined unless its policy is to drop or to spill. */
  readonly outputDroppedBytes: bigint | undefined;
  readonly outputWaitingBytes: bigint | undefined;
}

/** undefined if the figures are of neither kind. Throws on malformed ones. */
export function readUsage(stats: Any): TaskUsage | undefined {
  const v2 = unpack(stats, METRICS_V2, MetricsV2);
  if (v2 !== undefined) return usageV2(v2);
  const v1 = unpack(stats, METRICS_V1, MetricsV1);
  return v1 && usageV1(v1);
}

function usageV1({ cpu, memory, blkio, pids, holdfastOutput }: MetricsV1): TaskUsage {
  const io = (operation: string): bigint =>
    (blkio?.ioServiceBytesRecursive ?? [])
      .filter(({ op }) => op.toLowerCase() === operation)
      .reduce((total, { value }) => total + value, 0n);
  return {
    cpuUserNs: cpu?.usage?.user ?? 0n,
    cpuKernelNs: cpu?.usage?.kernel ?? 0n,
    cpuTotalNs: cpu?.usage?.total ?? 0n,
    memoryBytes: memory?.usage?.usage ?? 0n,
    memoryPeakBytes: memory?.usage?.max ?? 0n,
    memoryLimitBytes: limit(memory?.usage?.limit),
    pids: pids?.current ?? 0n,
    ioReadBytes: io("read"),
    ioWriteBytes: io("write"),
    outputDroppedBytes: holdfastOutput?.dropped,
    outputWaitingBytes: holdfastOutput?.waiting,
  };
}

function usageV2({ cpu, memory, io, pids, holdfastOutput }: MetricsV2): TaskUsage {
  const entries = io?.usage ?? [];
  return {
    cpuUserNs: (cpu?.userUsec ?? 0n) * NS_PER_USEC,
    cpuKernelNs: (cpu?.systemUsec ?? 0n) * NS_PER_USEC,
    cpuTotalNs: (cpu?.usageUsec ?? 0n) * NS_PER_USEC,
    memoryBytes: memory?.usage ?? 0n,
    memoryPeakBytes: memory?.maxUsage ?? 0n,
    memoryLimitBytes: limit(memory?.usageLimit),
    pids: pids?.current ?? 0n,
    ioReadBytes: entries.reduce((total, { rbytes }) => total + rbytes, 0n),
    ioWriteBytes: entries.reduce((total, { wbytes }) => total + wbytes, 0n),
    outputDroppedBytes: holdfastOutput?.dropped,
    outputWaitingBytes: holdfastOutput?.waiting,
  };
}

function limit(bytes: bigint | undefined): bigint | undefined {
  return bytes === undefined || bytes === 0n || bytes >= NO_LIMIT ? undefined : bytes;
}
