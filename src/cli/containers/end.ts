// How a container's last task ended: from holdfastd's history where there is one, by the ended task itself otherwise.
import { Cause, type Exit, type GetHistoryResponse } from "../../api/generated/history.ts";
import type { Process } from "../../api/generated/process.ts";
import { nsFromTimestamp } from "../../api/timestamp.ts";
import { Code } from "../../ttrpc/status.ts";
import { exitOf } from "../shims/task.ts";
import { callCode } from "../text/problem.ts";
import { exitText, signalName } from "../text/signals.ts";
import { statusName } from "../text/task-status.ts";
import { duration, msSince, nsToIso } from "../text/units.ts";
import type { DaemonClient } from "./daemon-client.ts";
import { DaemonTask, patiently } from "./daemon-task.ts";
import { isNotFound } from "./record.ts";

const CAUSES: Readonly<Record<number, string>> = {
  [Cause.CAUSE_EXITED]: "exited",
  [Cause.CAUSE_OOM]: "oom",
  [Cause.CAUSE_SIGNAL]: "signal",
  [Cause.CAUSE_KILL_REQUEST]: "kill request",
  [Cause.CAUSE_SHIM_DIED]: "shim died",
  [Cause.CAUSE_DELETED_BY_FORCE]: "deleted by force",
  [Cause.CAUSE_STATUS_UNKNOWN]: "status unknown",
};

export interface End {
  /** Exit code, or 128 + signal. */
  readonly status: number;
  /** Nanoseconds since 1970; undefined if it is not known. */
  readonly at: bigint | undefined;
  /** What only a history knows. */
  readonly more: Pick<Exit, "startedAt" | "oom" | "usage" | "cause" | "causeDetail"> | undefined;
}

/** What the daemon remembers of a container; undefined if it keeps no history (containerd), or has no such container. */
export async function historyOf(daemon: DaemonClient, id: string): Promise<GetHistoryResponse | undefined> {
  try {
    return await daemon.history.get({ containerId: id });
  } catch (error) {
    if (isNotFound(error) || callCode(error) === Code.UNIMPLEMENTED) return undefined;
    throw error;
  }
}

/** undefined for a task that runs, and for a container that never ran. */
export function endOf(task: Process | undefined, history: GetHistoryResponse | undefined): End | undefined {
  if (task !== undefined && statusName(task.status) !== "stopped") return undefined;
  if (history?.exit !== undefined) return pastEnd(history.exit);
  return task && { ...exitOf(task.exitStatus, task.exitedAt), more: undefined };
}

function pastEnd(exit: Exit): End {
  return { ...exitOf(exit.status, exit.exitedAt), more: exit };
}

/** Waits for the end of a container's task; one that has been deleted has ended. Rejects with NOT_FOUND if it never had one, or is none itself. */
export async function waitForEnd(daemon: DaemonClient, id: string): Promise<End> {
  try {
    return { ...(await new DaemonTask(daemon, id).wait("")), more: undefined };
  } catch (error) {
    if (!isNotFound(error)) throw error;
    const end = await patiently(() => pastWait(daemon, id));
    if (end === undefined) throw error;
    return end;
  }
}

async function pastWait(daemon: DaemonClient, id: string): Promise<End | undefined> {
  try {
    const { exit } = await daemon.history.wait({ containerId: id });
    return exit && pastEnd(exit);
  } catch (error) {
    if (isNotFound(error) || callCode(error) === Code.UNIMPLEMENTED) return undefined;
    throw error;
  }
}

/** For JSON; null where nobody knows. */
export function describeEnd(end: End | undefined): Record<string, unknown> | null {
  if (end === undefined) return null;
  const { status, at, more } = end;
  return {
    status,
    signal: (status > 128 && signalName(status - 128)) || null,
    oom: more?.oom ?? null,
    startedAt: (more?.startedAt && nsToIso(nsFromTimestamp(more.startedAt))) ?? null,
    exitedAt: nsToIso(at) ?? null,
    usage: more?.usage ?? null,
    cause: causeName(more) ?? null,
    causeDetail: more?.causeDetail || null,
  };
}

/** "ended 137 (SIGKILL), out of memory, 3.4 s ago". */
export function endText({ status, at, more }: End): string {
  const parts = [
    `ended ${exitText(status)}`,
    more?.oom === true ? "out of memory" : causeShown(more),
    at === undefined ? "" : `${duration(msSince(at))} ago`,
  ];
  return parts.filter((part) => part !== "").join(", ");
}

function causeName(more: End["more"]): string | undefined {
  return CAUSES[more?.cause ?? Cause.CAUSE_UNKNOWN];
}

/** What status and signal do not say already. */
function causeShown(more: End["more"]): string {
  const cause = causeName(more);
  return cause !== undefined && ["shim died", "deleted by force", "status unknown"].includes(cause)
    ? cause
    : "";
}
