// Whether a shim answers, how fast, and in which states its containers are. Used by `shims` and `doctor`.
import { Code } from "../../ttrpc/status.ts";
import { callCode, errorText } from "../text/problem.ts";
import { statusName } from "../text/task-status.ts";
import { ShimConnection, type TaskApi } from "./connection.ts";
import { mainSocket, type ShimProcess } from "./processes.ts";

export interface ContainerState {
  readonly id: string;
  readonly status: string;
  readonly pid: number;
}

/** How a shim answered. */
export interface Probe {
  readonly answers: boolean;
  /** Milliseconds from connecting to its first answer. */
  readonly ms: number | undefined;
  readonly api: TaskApi | undefined;
  readonly containers: readonly ContainerState[];
  readonly error: string | undefined;
}

/** Asks a shim for the state of its containers. Never throws; takes `timeoutMs` at most. */
export async function probe(shim: ShimProcess, timeoutMs: number): Promise<Probe> {
  const unknown = shim.containers.map((id) => ({ id, status: "unknown", pid: 0 }));
  const silent = { answers: false, ms: undefined, api: undefined, containers: unknown };
  const socket = mainSocket(shim);
  if (socket === undefined) return { ...silent, error: "does not listen on any socket" };
  const start = performance.now();
  let connection: ShimConnection;
  try {
    connection = await ShimConnection.open(socket, shim.containers[0] ?? shim.id, timeoutMs);
  } catch (error) {
    const hint = shim.stat.state === "T" ? "stopped by a signal" : errorText(error);
    return { ...silent, error: hint };
  }
  const ms = performance.now() - start;
  try {
    const left = Math.max(1, timeoutMs - ms);
    const containers = await Promise.all(shim.containers.map((id) => stateOf(connection, id, left)));
    return { answers: true, ms, api: connection.api, containers, error: undefined };
  } finally {
    connection.close();
  }
}

async function stateOf(connection: ShimConnection, id: string, timeoutMs: number): Promise<ContainerState> {
  try {
    const { status, pid } = await connection.task.state({ id, execId: "" }, { timeoutMs });
    return { id, status: statusName(status), pid };
  } catch (error) {
    const code = callCode(error);
    return {
      id,
      status: code === Code.NOT_FOUND ? "none" : code === Code.DEADLINE_EXCEEDED ? "no answer" : "unknown",
      pid: 0,
    };
  }
}
