// Every event in every state, against the lifecycle written out the other way round: by what each state allows.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Event, type Kind, next, type State } from "../../src/task/lifecycle.ts";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";

type Steps = Partial<Record<Event, State>>;

/** What a request or an occurrence leads to. What is not named is refused, or cannot come to pass. */
const allowed: Record<Kind, Partial<Record<State, Steps>>> = {
  init: {
    created: {
      start: "starting",
      kill: "created",
      exec: "created",
      execStart: "created",
      update: "created",
      resize: "created",
      delete: "created",
      died: "ending",
      deleted: "deleted",
    },
    starting: {
      kill: "starting",
      exec: "starting",
      execStart: "starting",
      update: "starting",
      resize: "starting",
      started: "running",
      startFailed: "created",
      died: "ending",
    },
    running: {
      kill: "running",
      exec: "running",
      execStart: "running",
      pause: "pausing",
      update: "running",
      checkpoint: "running",
      resize: "running",
      died: "ending",
    },
    pausing: {
      kill: "pausing",
      execStart: "pausing",
      update: "pausing",
      resize: "pausing",
      paused: "paused",
      pauseFailed: "running",
      died: "ending",
    },
    paused: {
      kill: "paused",
      execStart: "paused",
      resume: "paused",
      update: "paused",
      checkpoint: "paused",
      resize: "paused",
      resumed: "running",
      died: "ending",
    },
    // What was under way when it died ends without effect.
    ending: {
      kill: "ending",
      resize: "ending",
      delete: "ending",
      started: "ending",
      startFailed: "ending",
      paused: "ending",
      pauseFailed: "ending",
      resumed: "ending",
      exited: "stopped",
      deleted: "deleted",
    },
    stopped: {
      resize: "stopped",
      delete: "stopped",
      started: "stopped",
      startFailed: "stopped",
      paused: "stopped",
      pauseFailed: "stopped",
      resumed: "stopped",
      deleted: "deleted",
    },
    deleted: {
      started: "deleted",
      startFailed: "deleted",
      paused: "deleted",
      pauseFailed: "deleted",
      resumed: "deleted",
      died: "deleted",
      exited: "deleted",
      deleted: "deleted",
    },
  },
  exec: {
    created: { start: "starting", resize: "created", delete: "created", deleted: "deleted" },
    starting: { resize: "starting", started: "running", startFailed: "created", deleted: "deleted" },
    running: { kill: "running", resize: "running", exited: "stopped", deleted: "deleted" },
    stopped: { resize: "stopped", delete: "stopped", deleted: "deleted" },
    deleted: { started: "deleted", startFailed: "deleted", exited: "deleted", deleted: "deleted" },
  },
};

const requests: readonly Event[] = [
  "start",
  "kill",
  "exec",
  "execStart",
  "pause",
  "resume",
  "update",
  "checkpoint",
  "resize",
  "delete",
];
const ofExecs: readonly Event[] = ["start", "kill", "resize", "delete"];
const occurrences: readonly Event[] = [
  "started",
  "startFailed",
  "paused",
  "pauseFailed",
  "resumed",
  "died",
  "exited",
  "deleted",
];

function refusalOf(kind: Kind, event: Event, state: State): TtrpcError {
  try {
    next(kind, event, state);
  } catch (error) {
    assert.ok(error instanceof TtrpcError, `${kind} ${event} ${state}: ${error}`);
    return error;
  }
  throw new Error(`${event} of an ${kind} that is ${state} is allowed`);
}

for (const kind of ["init", "exec"] as const) {
  for (const [name, steps] of Object.entries(allowed[kind])) {
    const state = name as State;
    test(`an ${kind} that is ${state} goes on as the lifecycle says, and refuses the rest`, () => {
      for (const event of [...requests, ...occurrences]) {
        const expected = steps[event];
        if (expected !== undefined) assert.equal(next(kind, event, state), expected, event);
        else if (occurrences.includes(event) || (kind === "exec" && !ofExecs.includes(event))) {
          assert.throws(() => next(kind, event, state), /^Error: internal error/, event);
        } else {
          const { code, rawMessage } = refusalOf(kind, event, state);
          const isGone = state === "deleted" || (event === "kill" && state === "stopped");
          assert.equal(code, isGone ? Code.NOT_FOUND : Code.FAILED_PRECONDITION, event);
          assert.ok(rawMessage.length > 0);
        }
      }
    });
  }
}

test("the words of a refusal are those that clients look for", () => {
  const words = (kind: Kind, event: Event, state: State): string => refusalOf(kind, event, state).rawMessage;
  assert.equal(words("exec", "kill", "created"), "process not created");
  assert.equal(words("exec", "kill", "starting"), "process not created");
  assert.equal(words("init", "kill", "stopped"), "process already finished");
  assert.equal(words("init", "delete", "running"), "cannot delete a running process");
  assert.equal(words("init", "exec", "ending"), "cannot exec in a stopped container");
  assert.equal(words("init", "execStart", "ending"), "cannot exec in a stopped container");
  assert.equal(words("init", "pause", "paused"), "cannot pause a paused container");
  assert.equal(words("exec", "delete", "starting"), "cannot delete a starting process");
});
