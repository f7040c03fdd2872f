// Containers with their tasks and how these ended, as ps and inspect show them.
import type { Container } from "../../api/generated/containers.ts";
import type { Process } from "../../api/generated/process.ts";
import { nsFromTimestamp } from "../../api/timestamp.ts";
import { statOf } from "../shims/proc.ts";
import { statusName } from "../text/task-status.ts";
import { nsToIso } from "../text/units.ts";
import type { DaemonClient } from "./daemon-client.ts";
import { describeEnd, type End, endOf, endText, historyOf } from "./end.ts";
import { byAge, podPlaceOf } from "./names.ts";
import { processIn } from "./record.ts";

export interface Row {
  readonly namespace: string;
  readonly container: Container;
  readonly task: Process | undefined;
  /** undefined for what runs, or never ran. */
  readonly end: End | undefined;
  /** When its last task began, in ns since 1970; undefined if nobody knows. */
  readonly startedAt: bigint | undefined;
}

/**
 * The containers of the daemon's namespace; only those whose task has not ended, unless `all`. When one that runs began is as the kernel's clock ticks, or
 * `exactly` as the daemon's history has it, for which each must be asked.
 */
export async function rowsOf(daemon: DaemonClient, all: boolean, exactly: boolean): Promise<Row[]> {
  const [{ containers }, { tasks }] = await Promise.all([
    daemon.containers.list({ filters: [] }),
    daemon.tasks.list({ filter: "" }),
  ]);
  // Older daemons leave containerId empty.
  const byId = new Map(tasks.map((task) => [task.containerId || task.id, task]));
  const wanted = containers.filter(({ id }) => all || !isOver(byId.get(id)));
  return Promise.all(
    wanted.sort(byAge).map((container) => rowOf(daemon, container, byId.get(container.id), exactly)),
  );
}

/** `task` is the container's, if it has one. */
export async function rowOf(
  daemon: DaemonClient,
  container: Container,
  task: Process | undefined,
  exactly: boolean,
): Promise<Row> {
  const history = exactly || isOver(task) ? await historyOf(daemon, container.id) : undefined;
  const end = endOf(task, history);
  const past = end?.more?.startedAt ?? history?.startedAt;
  const startedAt = past === undefined ? startOf(task) : nsFromTimestamp(past);
  return { namespace: daemon.namespace, container, task, end, startedAt };
}

/** Of a task that runs the age of its init tells it, with any daemon, to some hundredths of a second. */
function startOf(task: Process | undefined): bigint | undefined {
  const init = task === undefined || task.pid === 0 || isOver(task) ? undefined : statOf(task.pid);
  return init === undefined ? undefined : BigInt(Math.round(Date.now() - init.ageMs)) * 1_000_000n;
}

function isOver(task: Process | undefined): boolean {
  return task === undefined || statusName(task.status) === "stopped";
}

/** For JSON. */
export function describeRow({ container, task, namespace, end, startedAt }: Row): Record<string, unknown> {
  return {
    id: container.id,
    namespace,
    status: task === undefined ? "none" : statusName(task.status),
    pid: task?.pid ?? 0,
    exit: describeEnd(end),
    createdAt: container.createdAt === undefined ? null : nsToIso(nsFromTimestamp(container.createdAt)),
    startedAt: nsToIso(startedAt) ?? null,
    runtime: container.runtime?.name ?? null,
    image: container.image,
    command: processIn(container).args,
    labels: container.labels,
    pod: podPlaceOf(container) ?? null,
  };
}

export function statusText({ task, end }: Row): string {
  if (end !== undefined) return endText(end);
  return task === undefined ? "no task" : statusName(task.status);
}
