// Who waits for a task gets an answer whatever becomes of its shim and its connection.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Bundle } from "../../src/manager/tasks/bundle.ts";
import type { ShimLink } from "../../src/manager/tasks/shim-link.ts";
import { Task } from "../../src/manager/tasks/task.ts";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";

/** A connection whose calls fail when it ends. */
class FakeLink {
  isClosed = false;
  readonly #failures: (() => void)[] = [];
  readonly task = {
    wait: () =>
      new Promise((_, reject) => {
        this.#failures.push(() => reject(new TtrpcError(Code.UNAVAILABLE, "ttrpc connection closed")));
      }),
  };

  close(): void {
    this.isClosed = true;
    for (const fail of this.#failures) fail();
  }
}

function newTask(): { task: Task; link: FakeLink } {
  const link = new FakeLink();
  const task = new Task({
    bundle: { namespace: "n", id: "c" } as Bundle,
    binary: undefined,
    address: { address: "unix:///none", version: 2 },
    link: link as unknown as ShimLink,
    closeLog: () => {},
  });
  return { task, link };
}

const notFound = (error: TtrpcError): boolean => error.code === Code.NOT_FOUND;

for (const execId of ["", "e1"]) {
  test(`a task that is let go of answers those who wait for ${execId === "" ? "it" : "an exec"}`, async () => {
    const { task } = newTask();
    const waiting = task.wait(execId);
    task.close();
    await assert.rejects(waiting, notFound);
  });
}

test("when the shim has died, those who wait for the init get its exit, and those for an exec an error", async () => {
  const { task } = newTask();
  const [init, exec] = [task.wait(""), task.wait("e1")];
  task.close({ exitStatus: 137 });
  assert.deepEqual(await init, { exitStatus: 137 });
  await assert.rejects(exec, notFound);
});

test("a connection that is replaced is waited on", async () => {
  const { task, link } = newTask();
  const waiting = task.wait("");
  link.close();
  const next = { isClosed: false, close: () => {}, task: { wait: () => Promise.resolve({ exitStatus: 4 }) } };
  task.relink(next as unknown as ShimLink);
  assert.deepEqual(await waiting, { exitStatus: 4 });
});
