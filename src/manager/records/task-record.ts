// What is on record of one container's last task, and how events and calls change it. history.ts keeps the records.
import type { EventFields } from "../../api/event-types.ts";
import type { Timestamp } from "../../api/generated/google/protobuf/timestamp.ts";
import {
  Cause,
  type Exit,
  type KillRequest,
  type Step,
  type TaskMarks,
} from "../../api/generated/history.ts";
import { nsFromTimestamp } from "../../api/timestamp.ts";

/** 128 + n is how a shell, and a shim, say that signal n has ended a program. */
const SIGNAL_BASE = 128;
const MAX_SIGNAL = 64;

export const NO_MARKS: TaskMarks = {
  created: false,
  exitPublished: false,
  deletePublished: false,
  kill: undefined,
};

export const NO_EXIT: Exit = {
  status: 0,
  pid: 0,
  startedAt: undefined,
  exitedAt: undefined,
  oom: false,
  usage: undefined,
  cause: Cause.CAUSE_UNKNOWN,
  causeDetail: "",
};

/** `exit` exists from the creation of a task on; it tells of an end once it has exitedAt. */
export interface TaskRecord {
  readonly exit: Exit | undefined;
  readonly task: TaskMarks;
}

/** After an event about the container's init. */
export function afterEvent(
  record: TaskRecord,
  topic: string,
  fields: EventFields | undefined,
  at: Timestamp | undefined,
): TaskRecord {
  const { exit = NO_EXIT, task } = record;
  const { pid, exitStatus, exitedAt } = fields ?? {};
  switch (topic) {
    case "/tasks/create":
      return { exit: { ...NO_EXIT, pid: Number(pid) }, task: { ...NO_MARKS, created: true } };
    case "/tasks/start":
      return { exit: inOrder({ ...exit, pid: Number(pid), startedAt: at }), task };
    case "/tasks/oom":
      return { exit: withCause({ ...exit, oom: true }, task.kill), task };
    case "/tasks/exit": {
      const end = {
        pid: Number(pid),
        status: Number(exitStatus),
        exitedAt: (exitedAt as Timestamp | undefined) ?? at,
      };
      return { exit: ended(exit, end, task.kill), task: { ...task, exitPublished: true } };
    }
    case "/tasks/delete":
      return { exit: record.exit, task: { ...task, deletePublished: true } };
    default:
      return record;
  }
}

/** After the end of its task. A cause that is known already stays. */
export function ended(
  exit: Exit,
  end: Pick<Exit, "pid" | "status" | "exitedAt">,
  kill: KillRequest | undefined,
): Exit {
  const whole = inOrder({ ...exit, ...end });
  return exit.exitedAt !== undefined && exit.cause !== Cause.CAUSE_UNKNOWN ? whole : withCause(whole, kill);
}

/** A shim knows of a start when the runtime's command has ended, and a short task has ended before that: it started no later than it ended. */
function inOrder(exit: Exit): Exit {
  const { startedAt, exitedAt } = exit;
  if (startedAt === undefined || exitedAt === undefined) return exit;
  return nsFromTimestamp(startedAt) > nsFromTimestamp(exitedAt) ? { ...exit, startedAt: exitedAt } : exit;
}

function withCause(exit: Exit, kill: KillRequest | undefined): Exit {
  if (exit.exitedAt === undefined) return exit;
  const [cause, causeDetail] = causeOf(exit, kill);
  return { ...exit, cause, causeDetail };
}

function causeOf({ status, oom }: Exit, kill: KillRequest | undefined): [Cause, string] {
  const signal = status - SIGNAL_BASE;
  const asked = kill && `signal ${kill.signal}, asked for by ${kill.by}`;
  if (asked !== undefined && kill?.signal === signal)
    return [kill.toDelete ? Cause.CAUSE_DELETED_BY_FORCE : Cause.CAUSE_KILL_REQUEST, asked];
  if (oom && signal === 9) return [Cause.CAUSE_OOM, "the kernel killed it for want of memory"];
  if (signal > 0 && signal <= MAX_SIGNAL)
    return [Cause.CAUSE_SIGNAL, `signal ${signal}, not through holdfastd`];
  return [
    Cause.CAUSE_EXITED,
    asked === undefined ? `exit status ${status}` : `exit status ${status} after ${asked}`,
  ];
}

/** Of a record of a version that kept no marks: they are among the steps, if they have not been pushed out. */
export function marksFromSteps(exit: Exit | undefined, steps: readonly Step[]): TaskMarks {
  const last = (topic: string): number =>
    steps.findLastIndex(({ what, execId }) => what === topic && execId === "");
  const created = last("/tasks/create");
  return {
    created: created >= 0 || exit !== undefined,
    exitPublished: last("/tasks/exit") > created,
    deletePublished: last("/tasks/delete") > created,
    kill: undefined,
  };
}
