// The way out when nobody answers: the runtime's kill hangs, the shim is stopped, the daemon is away. Signals a container's processes by what the kernel
// says of them alone.
import { dirname, join } from "node:path";
import { RUNTIME_ROOTS } from "../../shims/runtime-root.ts";
import { Problem } from "../text/problem.ts";
import { ownGroupOf, pause, processesIn, send, signalGroup } from "./control-group.ts";
import { childrenOfShim, keeperOf } from "./keeper.ts";
import { statOf } from "./proc.ts";
import { findShims, type ShimProcess } from "./processes.ts";
import { readSmallFile } from "./small-file.ts";

const SIGKILL = 9;
const PID_LIMIT = 32;
const STATE_LIMIT = 4 * 1024 * 1024;

export interface DirectKill {
  /** Its init's pid. */
  readonly pid: number;
  /** Processes that are there still after SIGKILL: in a wait that nothing interrupts. */
  readonly left: readonly number[];
}

/** Signals the init, or all of the container's processes. After SIGKILL waits until they are gone, for `timeoutMs` at most. Throws a Problem. */
export async function killDirectly(
  namespace: string,
  id: string,
  { signal, all, timeoutMs }: { signal: number; all: boolean; timeoutMs: number },
): Promise<DirectKill> {
  const shim = findShims().find((each) => each.namespace === namespace && each.containers.includes(id));
  const pid = (shim && initOf(shim, id)) ?? recordedInit(namespace, id);
  if (pid === undefined) {
    throw new Problem(
      `no process of ${id} in namespace ${namespace} is known: "holdfast shims" shows what there is`,
    );
  }
  const spared = shim === undefined ? [] : [shim.pid, keeperOf(shim.pid) ?? shim.pid];
  const group = all ? ownGroupOf(pid, [process.pid, ...spared]) : undefined;
  if (group === undefined) send(pid, signal);
  else await signalGroup(group, signal);
  const remaining = (): number[] =>
    [...new Set([pid, ...(group === undefined ? [] : processesIn(group))])].filter(lives);
  const until = performance.now() + timeoutMs;
  while (signal === SIGKILL && remaining().length > 0 && performance.now() < until) await pause();
  return { pid, left: signal === SIGKILL ? remaining() : [] };
}

function lives(pid: number): boolean {
  const state = statOf(pid)?.state;
  return state !== undefined && state !== "Z" && state !== "X";
}

/** The pid that the runtime wrote, while it is a child of the shim or its keeper: nobody else reaps it, so the number is its own. */
function initOf(shim: ShimProcess, id: string): number | undefined {
  const written = Number(readSmallFile(join(dirname(shim.bundle), id, "init.pid"), PID_LIMIT));
  return childrenOfShim(shim.pid).find((pid) => pid === written && lives(pid));
}

/** Of a container without a shim: the pid that runc has on record, while the process was started when runc says. */
function recordedInit(namespace: string, id: string): number | undefined {
  for (const root of RUNTIME_ROOTS) {
    const found = readInit(readSmallFile(join(root, namespace, id, "state.json"), STATE_LIMIT) ?? "");
    if (found !== undefined && statOf(found.pid)?.startTicks === found.startTicks) return found.pid;
  }
  return undefined;
}

function readInit(json: string): { pid: number; startTicks: number } | undefined {
  try {
    const state = JSON.parse(json) as Record<string, unknown>;
    const { init_process_pid: pid, init_process_start: startTicks } = state;
    if (typeof pid !== "number" || typeof startTicks !== "number") return undefined;
    return Number.isInteger(pid) && pid > 1 ? { pid, startTicks } : undefined;
  } catch {
    return undefined;
  }
}
