// Whether a shim answers, how fast, and in which states its containers are.
import { join } from "node:path";
import type { StateResponse } from "../../api/generated/task.ts";
import { Code } from "../../ttrpc/status.ts";
import { callCode, errorText } from "../text/problem.ts";
import { statusName } from "../text/task-status.ts";
import { ShimConnection, type TaskApi } from "./connection.ts";
import type { ShimProcess } from "./processes.ts";
import { readSmallFile } from "./small-file.ts";

const CRASH_LIMIT = 64 * 1024;

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
  const socket = shim.socket;
  if (socket === undefined) return { ...silent, error: lastWords(shim) ?? "does not listen on any socket" };
  const start = performance.now();
  const [first = shim.id, ...others] = shim.containers;
  try {
    const { connection, answer } = await ShimConnection.asking(socket, timeoutMs, (task) =>
      task.state({ id: first, execId: "" }, { timeoutMs }),
    );
    const ms = performance.now() - start;
    try {
      const left = Math.max(1, timeoutMs - ms);
      const states = await Promise.all(others.map((id) => stateOf(connection, id, left)));
      const containers = shim.containers.length === 0 ? [] : [described(first, answer), ...states];
      return { answers: true, ms, api: connection.api, containers, error: undefined };
    } finally {
      connection.close();
    }
  } catch (error) {
    const hint = shim.stat.state === "T" ? "stopped by a signal" : errorText(error);
    return { ...silent, error: hint };
  }
}

/** What its keeper, or the shim itself, has written about its end (src/shim/crash.ts): the first line. */
function lastWords({ bundle }: ShimProcess): string | undefined {
  return readSmallFile(join(bundle, "holdfast.crash"), CRASH_LIMIT)?.split("\n")[0];
}

async function stateOf(connection: ShimConnection, id: string, timeoutMs: number): Promise<ContainerState> {
  return described(
    id,
    await connection.task.state({ id, execId: "" }, { timeoutMs }).catch((error: unknown) => error),
  );
}

/** `answer` is the shim's, or the error that it came to. */
function described(id: string, answer: unknown): ContainerState {
  if (isState(answer)) return { id, status: statusName(answer.status), pid: answer.pid };
  const code = callCode(answer);
  const status = code === Code.NOT_FOUND ? "none" : code === Code.DEADLINE_EXCEEDED ? "no answer" : "unknown";
  return { id, status, pid: 0 };
}

function isState(answer: unknown): answer is StateResponse {
  return typeof answer === "object" && answer !== null && !(answer instanceof Error);
}
