// What a process is, and what may happen to it in each state: the whole lifecycle, as one table for an init and one for an exec. process.ts holds
// the state, and nothing else changes it. State, Wait, Connect, Pids, Stats and CloseIO are answered in every state.
import { Code, TtrpcError } from "../ttrpc/status.ts";

/**
 * An exec has no pause of its own, and its exit is never held. An init is `ending` while its process is dead and its exit is not published yet:
 * it waits for the exits of its execs (exits.ts).
 */
export type State =
  | "created"
  | "starting"
  | "running"
  | "pausing"
  | "paused"
  | "ending"
  | "stopped"
  | "deleted";
export type Kind = "init" | "exec";

/** What a client asks for: refused with an error. `execStart` is the start of one of the init's execs. */
export type Request =
  | "start"
  | "kill"
  | "exec"
  | "execStart"
  | "pause"
  | "resume"
  | "update"
  | "checkpoint"
  | "resize"
  | "delete";

/** What has come to pass. `died`: the init's process is dead; `exited`: the exit is published; `deleted`: also after a failed create. */
export type Occurrence =
  | "started"
  | "startFailed"
  | "paused"
  | "pauseFailed"
  | "resumed"
  | "died"
  | "exited"
  | "deleted";
export type Event = Request | Occurrence;

/** A cell: the next state, `same`, the code of a refusal, or `never` for what only a fault of ours can bring about. */
type Cell = State | "same" | "never" | Code;
type Table = Partial<Record<Event, readonly Cell[]>>;

const no = Code.FAILED_PRECONDITION;
const gone = Code.NOT_FOUND;
const same = "same";
const never = "never";

const states: Readonly<Record<Kind, readonly State[]>> = {
  init: ["created", "starting", "running", "pausing", "paused", "ending", "stopped", "deleted"],
  exec: ["created", "starting", "running", "stopped", "deleted"],
};

// biome-ignore format: a table
const init: Table = {
  //            created     starting   running    pausing    paused     ending     stopped    deleted
  start:       ["starting", no,        no,        no,        no,        no,        no,        gone],
  kill:        [same,       same,      same,      same,      same,      same,      gone,      gone],
  exec:        [same,       same,      same,      no,        no,        no,        no,        gone],
  execStart:   [same,       same,      same,      same,      same,      no,        no,        gone],
  pause:       [no,         no,        "pausing", no,        no,        no,        no,        gone],
  resume:      [no,         no,        no,        no,        same,      no,        no,        gone],
  update:      [same,       same,      same,      same,      same,      no,        no,        gone],
  checkpoint:  [no,         no,        same,      no,        same,      no,        no,        gone],
  resize:      [same,       same,      same,      same,      same,      same,      same,      gone],
  delete:      [same,       no,        no,        no,        no,        same,      same,      gone],

  started:     [never,      "running", never,     never,     never,     same,      same,      same],
  startFailed: [never,      "created", never,     never,     never,     same,      same,      same],
  paused:      [never,      never,     never,     "paused",  never,     same,      same,      same],
  pauseFailed: [never,      never,     never,     "running", never,     same,      same,      same],
  resumed:     [never,      never,     never,     never,     "running", same,      same,      same],
  died:        ["ending",   "ending",  "ending",  "ending",  "ending",  never,     never,     same],
  exited:      [never,      never,     never,     never,     never,     "stopped", never,     same],
  deleted:     ["deleted",  never,     never,     never,     never,     "deleted", "deleted", same],
};

// biome-ignore format: a table
const exec: Table = {
  //            created     starting   running    stopped    deleted
  start:       ["starting", no,        no,        no,        gone],
  kill:        [no,         no,        same,      gone,      gone],
  resize:      [same,       same,      same,      same,      gone],
  delete:      [same,       no,        no,        same,      gone],

  started:     [never,      "running", never,     never,     same],
  startFailed: [never,      "created", never,     never,     same],
  exited:      [never,      never,     "stopped", never,     same],
  // With its container it goes whatever it does.
  deleted:     ["deleted",  "deleted", "deleted", "deleted", same],
};

const tables: Readonly<Record<Kind, Table>> = { init, exec };

/** The state that follows. Throws a TtrpcError where the state refuses the request, and an Error where an event cannot have come. */
export function next(kind: Kind, event: Event, state: State): State {
  const cell = tables[kind][event]?.[states[kind].indexOf(state)] ?? never;
  if (cell === same) return state;
  if (cell === never) throw new Error(`internal error: ${event} of an ${kind} that is ${state}`);
  if (typeof cell === "string") return cell;
  throw new TtrpcError(cell, refusal(kind, event, state));
}

function refusal(kind: Kind, event: Event, state: State): string {
  if (event === "kill") {
    return state === "created" || state === "starting" ? "process not created" : "process already finished";
  }
  const seen = state === "ending" ? "stopped" : state;
  if (event === "exec" || event === "execStart") return `cannot exec in a ${seen} container`;
  const noun = kind === "init" && event !== "start" && event !== "delete" ? "container" : "process";
  return `cannot ${event} a ${seen} ${noun}`;
}
