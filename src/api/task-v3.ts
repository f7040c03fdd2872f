// The task service as containerd 2 asks for it. Its messages and methods are those of version 2 (test/api/task-v3.test.ts). The Events stream that was
// proposed for it (containerd pull request 9704, closed) is in no release: events go to the manager's own service.

import { TaskDefinition } from "./generated/task.ts";

export const TaskV3Definition: Omit<TaskDefinition, "fullName"> & {
  readonly fullName: "containerd.task.v3.Task";
} = {
  ...TaskDefinition,
  fullName: "containerd.task.v3.Task",
};
