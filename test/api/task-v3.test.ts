import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { TaskDefinition } from "../../src/api/generated/task.ts";
import { TaskV3Definition } from "../../src/api/task-v3.ts";
import { allMessages, load, oracle, PROTO, shape } from "./oracle.ts";

const v2 = oracle("task.proto");
const v3 = load([join(import.meta.dirname, "fixtures/task_v3.proto")], (target) =>
  target.startsWith("google/") || target.startsWith("/") ? target : join(PROTO, target),
);

function messages(root: typeof v2, name: string): Record<string, Record<string, string>> {
  return Object.fromEntries(
    allMessages(root.lookup(name) as typeof v2).map((type) => [type.name, shape(type)]),
  );
}

test("task API version 3 has the same messages on the wire as version 2", () => {
  assert.deepEqual(messages(v3, "containerd.task.v3"), messages(v2, "containerd.task.v2"));
});

test("both versions have the same methods, with the same messages", () => {
  const methods = (root: typeof v2, name: string): [string, string, string][] =>
    root
      .lookupService(name)
      .methodsArray.map((method) => [
        method.name,
        method.resolvedRequestType?.name ?? "",
        method.resolvedResponseType?.name ?? "",
      ]);
  assert.equal(methods(v3, "containerd.task.v3.Task").length, 17);
  assert.deepEqual(methods(v3, "containerd.task.v3.Task"), methods(v2, "containerd.task.v2.Task"));
  assert.deepEqual(TaskV3Definition.methods, TaskDefinition.methods);
  assert.equal(TaskV3Definition.fullName, "containerd.task.v3.Task");
});
