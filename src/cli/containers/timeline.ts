// What happened to a container so far: holdfastd remembers it; for another daemon it is put together from record, shim and exit.

import type { ShimDump } from "../../api/dump.ts";
import type { Container } from "../../api/generated/containers.ts";
import type { GetHistoryResponse, Step as RememberedStep } from "../../api/generated/history.ts";
import { nsFromTimestamp } from "../../api/timestamp.ts";
import { ShimConnection } from "../shims/connection.ts";
import { statOf } from "../shims/proc.ts";
import { findShims, type ShimProcess } from "../shims/processes.ts";
import { exitOf } from "../shims/task.ts";
import { exitText } from "../text/signals.ts";
import { statusName } from "../text/task-status.ts";
import type { DaemonClient } from "./daemon-client.ts";
import { historyOf } from "./end.ts";
import { orNone } from "./record.ts";

export interface Step {
  /** Nanoseconds since 1970. */
  readonly at: bigint;
  readonly what: string;
  /** What a call asked for, and who asked, where that is told. */
  readonly detail?: string;
  /** How long it took, in ms, where somebody knows. */
  readonly tookMs: number | undefined;
}

/** Calls that only look. */
const LOOKS: readonly string[] = ["State", "Connect", "Pids", "Stats", "Wait", "Dump"];

/** The steps in the order of time. `timeoutMs` is for the shim. */
export async function pastOf(daemon: DaemonClient, container: Container, timeoutMs: number): Promise<Step[]> {
  const history = await historyOf(daemon, container.id);
  const steps =
    history === undefined ? await tracesOf(daemon, container, timeoutMs) : rememberedSteps(history);
  return steps.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
}

/** Before the last end stands why. */
function rememberedSteps({ steps, exit }: GetHistoryResponse): Step[] {
  const told = steps.map(remembered);
  const end = steps.findLastIndex(({ what, execId }) => what === "/tasks/exit" && execId === "");
  const [cause, last] = [exit?.causeDetail ?? "", told[end]];
  if (cause === "" || last === undefined) return told;
  return told.toSpliced(end, 0, { at: last.at, what: `why it ended: ${cause}`, tookMs: undefined });
}

function remembered({ at, what, execId, tookNs, detail }: RememberedStep): Step {
  const asked = what === "tasks.Kill" && /^signal \d+/.test(detail);
  const told = (asked ? "" : detail).replace(
    /exit status (\d+)$/,
    (_, status) => `exit status ${exitText(Number(status))}`,
  );
  return {
    at: at === undefined ? 0n : nsFromTimestamp(at),
    what: `${what}${execId === "" ? "" : ` ${execId}`}${told === "" ? "" : `: ${told}`}`,
    ...(asked && { detail }),
    tookMs: tookNs === 0n ? undefined : Number(tookNs) / 1e6,
  };
}

/** A shim that does not answer leaves its steps out. */
async function tracesOf(daemon: DaemonClient, container: Container, timeoutMs: number): Promise<Step[]> {
  const { id, createdAt } = container;
  const steps: Step[] = [];
  const add = (at: bigint, what: string, tookMs?: number): void => void steps.push({ at, what, tookMs });
  if (createdAt !== undefined) add(nsFromTimestamp(createdAt), "container put on record");
  const task = (await orNone(daemon.tasks.get({ containerId: id, execId: "" })))?.process;
  const shim = findShims().find(
    (each) => each.namespace === daemon.namespace && each.containers.includes(id),
  );
  if (shim !== undefined) {
    add(ago(shim.stat.ageMs), `shim started: ${shim.kind}, pid ${shim.pid}`);
    // A pod's shim does not say which container a call was for.
    const dump = shim.containers.length === 1 ? await insideOf(shim, timeoutMs) : undefined;
    for (const call of dump?.calls ?? []) {
      if (LOOKS.includes(call.method)) continue;
      add(ago(call.ago + call.ms), `${call.method}${call.error === "" ? "" : `: ${call.error}`}`, call.ms);
    }
  }
  const init = task === undefined ? undefined : statOf(task.pid);
  if (task !== undefined && init !== undefined) add(ago(init.ageMs), `init made: pid ${task.pid}`);
  if (task !== undefined && statusName(task.status) === "stopped") {
    const { status, at } = exitOf(task.exitStatus, task.exitedAt);
    if (at !== undefined) add(at, `ended: exit status ${exitText(status)}`);
  }
  return steps;
}

function ago(ms: number): bigint {
  return BigInt(Date.now()) * 1_000_000n - BigInt(Math.round(ms * 1e6));
}

async function insideOf(shim: ShimProcess, timeoutMs: number): Promise<ShimDump | undefined> {
  const socket = shim.socket;
  if (socket === undefined) return undefined;
  try {
    const connection = await ShimConnection.open(socket, shim.id, timeoutMs);
    try {
      return await connection.inside();
    } finally {
      connection.close();
    }
  } catch {
    // Go's shim tells nothing, and a hung one neither.
    return undefined;
  }
}
