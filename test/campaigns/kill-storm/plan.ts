// What one container of the storm is to do: drawn from the seed before it happens, so that its true end and output are known. Used by life.ts.
import type { Random } from "../random.ts";

export interface ExecPlan {
  readonly id: string;
  readonly status: number;
  readonly lines: number;
  readonly terminal: boolean;
}

export interface LifePlan {
  readonly id: string;
  /** What the container exits with. */
  readonly status: number;
  /** It prints numbers: so many before it waits for its go, and up to so many after. */
  readonly before: number;
  readonly after: number;
  readonly stdio: "fifo" | "terminal" | "terminal to a file" | "logger" | "file";
  readonly execs: readonly ExecPlan[];
  /** Ended by the client's SIGKILL in place of its go. */
  readonly isKilled: boolean;
  /** Where its shim dies in its own code, and perhaps the next one too; empty for nowhere. */
  readonly failpoint: string;
}

/** Places of the shim's code that a life comes to (docs/reliability.md). */
const PLACES = [
  ...[
    "Create:request",
    "Create:response",
    "Start:request",
    "Start:response",
    "Exec:response",
    "Wait:request",
  ],
  ...["Delete:request", "Delete:response", "runc create:running", "runc create:done", "runc start:running"],
  ...["runc exec:running", "runc exec:done", "runc delete:running", "runc delete:done", "relay:moved"],
  ...["Forward/tasks/create:request", "Forward/tasks/exit:request", "Forward/tasks/exit:response"],
  ...["publish/tasks/exit", "publish/tasks/delete", "leave:unnamed", "leave:done"],
] as const;

function planFailpoint(random: Random): string {
  if (random.chance(0.7)) return "";
  const anywhere = (): string => `${random.pick(["effect", "state"])}#${random.between(6, 60)}`;
  const first = random.chance(0.5) ? random.pick(PLACES) : anywhere();
  if (random.chance(0.8)) return first;
  return `${first},${random.pick(["resume:begun", "resume:containers", `effect#${random.between(1, 8)}`])}`;
}

export function planLife(random: Random, id: string): LifePlan {
  const before = random.pick([0, 1, 1000, 5000]);
  const execs = Array.from({ length: random.pick([0, 0, 1, 2]) }, (_, n) => ({
    id: `e${n}`,
    status: random.between(0, 120),
    lines: random.pick([0, 1, 3000]),
    terminal: random.chance(0.3),
  }));
  return {
    id,
    status: random.between(0, 120),
    before,
    after: before + random.pick([0, 1, 1000, 20_000]),
    stdio: random.pick(["fifo", "fifo", "terminal", "terminal to a file", "logger", "file"]),
    execs,
    isKilled: random.chance(0.15),
    failpoint: planFailpoint(random),
  };
}

/** The numbers from `first` to `last`, a line each: what seq prints. */
export function numbers(first: number, last: number): string {
  let text = "";
  for (let n = first; n <= last; n++) text += `${n}\n`;
  return text;
}

/** All that it prints. One that is killed prints nothing after it waits. */
export function outputOf({ before, after, isKilled }: LifePlan): string {
  return numbers(1, isKilled ? before : after);
}

/** It waits in a fifo of that name for its go. */
export function scriptOf({ id, before, after, status }: LifePlan): string {
  const quiet = "stty -opost 2>/dev/null";
  return `${quiet}; seq 1 ${before}; echo >/tmp/waits-${id}; read go </tmp/go-${id}; seq ${before + 1} ${after}; exit ${status}`;
}

export function execScriptOf({ lines, status }: ExecPlan): string {
  return `stty -opost 2>/dev/null; seq 1 ${lines}; exit ${status}`;
}
