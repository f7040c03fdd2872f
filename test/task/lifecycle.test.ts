// Every operation in every state, against the table written out the other way round: by what is allowed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { demand, type Operation, type State } from "../../src/task/lifecycle.ts";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";

const states: readonly State[] = ["created", "running", "pausing", "paused", "stopped", "deleted"];
const allowed: Record<"init" | "exec", Record<Operation, readonly State[]>> = {
  init: {
    start: ["created"],
    kill: ["created", "running", "pausing", "paused"],
    exec: ["created", "running"],
    pause: ["running"],
    resume: ["paused"],
    update: ["created", "running", "pausing", "paused"],
    resize: ["created", "running", "pausing", "paused", "stopped"],
    delete: ["created", "stopped"],
  },
  exec: {
    start: ["created"],
    kill: ["running", "pausing", "paused"],
    exec: ["created", "running"],
    pause: ["running"],
    resume: ["paused"],
    update: ["created", "running", "pausing", "paused"],
    resize: ["created", "running", "pausing", "paused", "stopped"],
    delete: ["created", "stopped"],
  },
};

for (const kind of ["init", "exec"] as const) {
  for (const [operation, good] of Object.entries(allowed[kind]) as [Operation, readonly State[]][]) {
    test(`${operation} of an ${kind} is allowed when ${good.join(", ")}, and refused otherwise`, () => {
      for (const state of states) {
        if (good.includes(state)) demand(kind, operation, state);
        else assert.throws(() => demand(kind, operation, state), TtrpcError, state);
      }
    });
  }
}

test("a process that is gone is NOT_FOUND to kill, and one that is not there yet a failed precondition", () => {
  const code = (state: State): unknown => {
    try {
      return demand("exec", "kill", state);
    } catch (error) {
      return error instanceof TtrpcError ? error.code : error;
    }
  };
  assert.equal(code("stopped"), Code.NOT_FOUND);
  assert.equal(code("deleted"), Code.NOT_FOUND);
  assert.equal(code("created"), Code.FAILED_PRECONDITION);
});
