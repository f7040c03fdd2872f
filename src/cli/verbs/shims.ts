// `holdfast shims`: every shim on the host, whether it answers and how fast. All are asked at once, each with its own deadline, so that a hung
// one delays nobody.
import type { Command } from "commander";
import { Code } from "../../ttrpc/status.ts";
import { ShimConnection, type TaskApi } from "../shims/connection.ts";
import { findShims, mainSocket, type ShimProcess } from "../shims/processes.ts";
import { callCode, errorText } from "../text/problem.ts";
import { statusName } from "../text/task-status.ts";
import { bytes, duration } from "../text/units.ts";
import { commonFlags, examples, type Settings, settingsOf } from "./options.ts";

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

export function addShims(program: Command): void {
  const command = program
    .command("shims")
    .description("list every shim on this host, of whatever daemon; needs no daemon");
  commonFlags(command, { daemon: false }).option("-q, --quiet", "only ids, and nobody is asked");
  examples(
    command,
    ["holdfast shims", "all shims, with their memory and how fast they answer"],
    ["holdfast shims -n k8s.io --json", "those of one namespace, for a program"],
    ["holdfast shims --timeout 200ms", "call a shim hung after 200 ms rather than 2 s"],
  );
  command.action(async () => {
    const settings = settingsOf(command);
    const wanted = findShims().filter(
      ({ namespace }) => !settings.namespaceGiven || namespace === settings.namespace,
    );
    if (command.opts<{ quiet?: boolean }>().quiet === true) {
      for (const { id } of wanted) settings.screen.line(id);
      return;
    }
    const probed = await Promise.all(
      wanted.map(async (shim) => ({ shim, probe: await probe(shim, settings.timeoutMs) })),
    );
    if (settings.screen.json)
      settings.screen.document(probed.map(({ shim, probe }) => describe(shim, probe)));
    else show(settings, probed);
  });
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

/** One shim as JSON. */
function describe(shim: ShimProcess, probe: Probe): Record<string, unknown> {
  const { stat, memory, sockets, ...rest } = shim;
  return {
    ...rest,
    parent: stat.parent,
    state: stat.state,
    ageMs: Math.round(stat.ageMs),
    rssBytes: memory?.rssBytes,
    privateBytes: memory?.privateBytes,
    socket: mainSocket(shim) ?? null,
    sockets,
    answers: probe.answers,
    answerMs: probe.ms,
    api: probe.api ?? null,
    error: probe.error ?? null,
    containers: probe.containers,
  };
}

function show({ screen }: Settings, probed: readonly { shim: ShimProcess; probe: Probe }[]): void {
  const { colors } = screen;
  const head = ["ID", "NAMESPACE", "PID", "SHIM", "AGE", "RSS", "PRIVATE", "CONTAINERS", "ANSWERS"];
  const rows = probed.map(({ shim, probe }) => [
    shim.id,
    shim.namespace,
    String(shim.pid),
    shim.kind,
    duration(shim.stat.ageMs),
    bytes(shim.memory?.rssBytes),
    bytes(shim.memory?.privateBytes),
    containersText(shim, probe.containers),
    probe.answers ? colors.green(duration(probe.ms)) : colors.red(`no: ${probe.error}`),
  ]);
  screen.table(head, rows);
  if (rows.length === 0) screen.note("no shim runs on this host (or you may not see it: root sees all)");
}

/** "running" for the one container that the shim is named after; "3: 2 running, 1 stopped" for a pod. */
function containersText(shim: ShimProcess, containers: readonly ContainerState[]): string {
  if (containers.length === 0) return shim.bundleRemoved ? "none, bundle gone" : "none";
  const [first] = containers;
  if (containers.length === 1 && first?.id === shim.id) return first.status;
  const counts = new Map<string, number>();
  for (const { status } of containers) counts.set(status, (counts.get(status) ?? 0) + 1);
  return `${containers.length}: ${[...counts].map(([status, count]) => `${count} ${status}`).join(", ")}`;
}
