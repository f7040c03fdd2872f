// The life of a process as one table: what may be asked of it in which state, and with which error the rest is refused.
// Used by process.ts and container.ts; the errors are those of docs/shim-protocol.md.
import { Code, TtrpcError } from "../ttrpc/status.ts";

export type State = "created" | "running" | "pausing" | "paused" | "stopped" | "deleted";
export type Operation = "start" | "kill" | "exec" | "pause" | "resume" | "update" | "resize" | "delete";

/** The states that refuse an operation, with the code they give. A state that is not named allows it. */
type Refusals = Readonly<Record<Operation, Partial<Record<State, Code>>>>;

const { FAILED_PRECONDITION: precondition, NOT_FOUND: gone } = Code;

const init: Refusals = {
  start: {
    running: precondition,
    pausing: precondition,
    paused: precondition,
    stopped: precondition,
    deleted: gone,
  },
  kill: { stopped: gone, deleted: gone },
  exec: { pausing: precondition, paused: precondition, stopped: precondition, deleted: gone },
  pause: {
    created: precondition,
    pausing: precondition,
    paused: precondition,
    stopped: precondition,
    deleted: gone,
  },
  resume: {
    created: precondition,
    running: precondition,
    pausing: precondition,
    stopped: precondition,
    deleted: gone,
  },
  update: { stopped: precondition, deleted: gone },
  resize: { deleted: gone },
  delete: { running: precondition, pausing: precondition, paused: precondition, deleted: gone },
};

/** An exec has no pause of its own: it is created, running, stopped or deleted. */
const exec: Refusals = {
  ...init,
  kill: { created: precondition, stopped: gone, deleted: gone },
};

const refusals: Readonly<Record<"init" | "exec", Refusals>> = { init, exec };

/** Throws a TtrpcError if a process of that kind in that state refuses the operation. */
export function demand(kind: "init" | "exec", operation: Operation, state: State): void {
  const code = refusals[kind][operation][state];
  if (code === undefined) return;
  throw new TtrpcError(code, refusalText(kind, operation, state));
}

function refusalText(kind: "init" | "exec", operation: Operation, state: State): string {
  if (operation === "kill") return state === "created" ? "process not created" : "process already finished";
  if (operation === "exec") return `cannot exec in a ${state} container`;
  const noun = kind === "init" && operation !== "start" && operation !== "delete" ? "container" : "process";
  return `cannot ${operation} a ${state} ${noun}`;
}
