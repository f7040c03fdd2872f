// The task service as containerd 2 asks for it. Its messages are those of version 2 (test/api/task-v3.test.ts); its optional Events stream
// is not offered, since events go to the manager's own service.

import { TaskDefinition } from "./generated/task.ts";

export const TaskV3Definition: Omit<TaskDefinition, "fullName"> & {
  readonly fullName: "containerd.task.v3.Task";
} = {
  ...TaskDefinition,
  fullName: "containerd.task.v3.Task",
};
