// A container's resource use as stats, top and inspect show it.
import type { Any } from "../../api/generated/google/protobuf/any.ts";
import { readUsage } from "../../shims/usage.ts";
import type { DaemonClient } from "./daemon-client.ts";

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
  /** Of its output; undefined unless its policy is to drop or to spill. */
  readonly outputDroppedBytes: bigint | undefined;
  readonly outputWaitingBytes: bigint | undefined;
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
  const usage = readUsage(data);
  if (usage === undefined) return undefined;
  const { cpuTotalNs, memoryBytes, memoryLimitBytes, pids, ioReadBytes, ioWriteBytes } = usage;
  return {
    id,
    atMs,
    cpuNs: cpuTotalNs,
    memoryBytes,
    memoryLimitBytes,
    pids,
    readBytes: ioReadBytes,
    writtenBytes: ioWriteBytes,
    outputDroppedBytes: usage.outputDroppedBytes,
    outputWaitingBytes: usage.outputWaitingBytes,
  };
}

/** Percent of one processor between two looks. */
export function cpuPercent(before: Figures, after: Figures): number {
  const ms = after.atMs - before.atMs;
  return ms <= 0 ? 0 : Math.max(0, Number(after.cpuNs - before.cpuNs) / 1e6 / ms) * 100;
}
