// The events that a shim publishes: topic, type and codec of each (docs/shim-protocol.md).
import * as type from "../api/any.ts";
import {
  TaskCheckpointed,
  TaskCreate,
  TaskDelete,
  TaskExecAdded,
  TaskExecStarted,
  TaskExit,
  TaskOOM,
  TaskPaused,
  TaskResumed,
  TaskStart,
} from "../api/generated/task_events.ts";

export interface Topic<T> {
  readonly topic: string;
  readonly typeUrl: string;
  readonly codec: Pick<type.Codec<T>, "encode">;
  /** Events of the same key say the same: while one waits for the daemon, no other has to. */
  readonly key?: (event: T) => string;
  /** Whether it must not be lost, whatever it costs. */
  readonly lasting?: boolean;
}

function topic<T>(
  name: string,
  typeUrl: string,
  codec: Topic<T>["codec"],
  waiting: Pick<Topic<T>, "key" | "lasting"> = {},
): Topic<T> {
  return { topic: `/tasks/${name}`, typeUrl, codec, ...waiting };
}

export const topics: {
  readonly create: Topic<TaskCreate>;
  readonly start: Topic<TaskStart>;
  readonly oom: Topic<TaskOOM>;
  readonly exit: Topic<TaskExit>;
  readonly delete: Topic<TaskDelete>;
  readonly execAdded: Topic<TaskExecAdded>;
  readonly execStarted: Topic<TaskExecStarted>;
  readonly paused: Topic<TaskPaused>;
  readonly resumed: Topic<TaskResumed>;
  readonly checkpointed: Topic<TaskCheckpointed>;
} = {
  create: topic("create", type.TASK_CREATE, TaskCreate),
  start: topic("start", type.TASK_START, TaskStart),
  oom: topic("oom", type.TASK_OOM, TaskOOM, { key: ({ containerId }) => `oom ${containerId}` }),
  exit: topic("exit", type.TASK_EXIT, TaskExit, { lasting: true }),
  delete: topic("delete", type.TASK_DELETE, TaskDelete),
  execAdded: topic("exec-added", type.TASK_EXEC_ADDED, TaskExecAdded),
  execStarted: topic("exec-started", type.TASK_EXEC_STARTED, TaskExecStarted),
  paused: topic("paused", type.TASK_PAUSED, TaskPaused),
  resumed: topic("resumed", type.TASK_RESUMED, TaskResumed),
  checkpointed: topic("checkpointed", type.TASK_CHECKPOINTED, TaskCheckpointed),
};

/** Takes events in the order in which they happened. */
export interface EventSink {
  publish<T>(topic: Topic<T>, event: T): void;
}
