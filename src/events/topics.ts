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

export function topicOf<T>(
  topic: string,
  typeUrl: string,
  codec: Topic<T>["codec"],
  waiting: Pick<Topic<T>, "key" | "lasting"> = {},
): Topic<T> {
  return { topic, typeUrl, codec, ...waiting };
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
  create: topicOf("/tasks/create", type.TASK_CREATE, TaskCreate),
  start: topicOf("/tasks/start", type.TASK_START, TaskStart),
  oom: topicOf("/tasks/oom", type.TASK_OOM, TaskOOM, { key: ({ containerId }) => `oom ${containerId}` }),
  exit: topicOf("/tasks/exit", type.TASK_EXIT, TaskExit, { lasting: true }),
  delete: topicOf("/tasks/delete", type.TASK_DELETE, TaskDelete),
  execAdded: topicOf("/tasks/exec-added", type.TASK_EXEC_ADDED, TaskExecAdded),
  execStarted: topicOf("/tasks/exec-started", type.TASK_EXEC_STARTED, TaskExecStarted),
  paused: topicOf("/tasks/paused", type.TASK_PAUSED, TaskPaused),
  resumed: topicOf("/tasks/resumed", type.TASK_RESUMED, TaskResumed),
  checkpointed: topicOf("/tasks/checkpointed", type.TASK_CHECKPOINTED, TaskCheckpointed),
};

/** Takes events in the order in which they happened. */
export interface EventSink {
  publish<T>(topic: Topic<T>, event: T): void;
}
