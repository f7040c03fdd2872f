// What a task has used, out of the figures of either cgroup version. Called by task.ts as a task ends.
import { METRICS_V1, METRICS_V2, unpack } from "../api/any.ts";
import { Metrics as MetricsV1 } from "../api/generated/cgroups_v1.ts";
import { Metrics as MetricsV2 } from "../api/generated/cgroups_v2.ts";
import type { Any } from "../api/generated/google/protobuf/any.ts";
import type { Usage } from "../api/generated/history.ts";

const NS_PER_USEC = 1000n;

/** undefined if the figures are of neither kind. Throws on malformed ones. */
export function usageOf(stats: Any): Usage | undefined {
  const v2 = unpack(stats, METRICS_V2, MetricsV2);
  if (v2 !== undefined) return usageV2(v2);
  const v1 = unpack(stats, METRICS_V1, MetricsV1);
  return v1 && usageV1(v1);
}

function usageV1({ cpu, memory, blkio }: MetricsV1): Usage {
  const io = (operation: string): bigint =>
    (blkio?.ioServiceBytesRecursive ?? [])
      .filter(({ op }) => op.toLowerCase() === operation)
      .reduce((total, { value }) => total + value, 0n);
  return {
    cpuUserNs: cpu?.usage?.user ?? 0n,
    cpuKernelNs: cpu?.usage?.kernel ?? 0n,
    cpuTotalNs: cpu?.usage?.total ?? 0n,
    memoryPeakBytes: memory?.usage?.max ?? 0n,
    ioReadBytes: io("read"),
    ioWriteBytes: io("write"),
  };
}

function usageV2({ cpu, memory, io }: MetricsV2): Usage {
  const entries = io?.usage ?? [];
  return {
    cpuUserNs: (cpu?.userUsec ?? 0n) * NS_PER_USEC,
    cpuKernelNs: (cpu?.systemUsec ?? 0n) * NS_PER_USEC,
    cpuTotalNs: (cpu?.usageUsec ?? 0n) * NS_PER_USEC,
    memoryPeakBytes: memory?.maxUsage ?? 0n,
    ioReadBytes: entries.reduce((total, { rbytes }) => total + rbytes, 0n),
    ioWriteBytes: entries.reduce((total, { wbytes }) => total + wbytes, 0n),
  };
}
