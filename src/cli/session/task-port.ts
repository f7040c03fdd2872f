// What a session needs of a task, whoever answers: a shim itself (src/cli/shims/task.ts) or a daemon (src/cli/containers/daemon-task.ts).
import type { StdioPaths } from "./fifos.ts";

export interface Exit {
  /** Exit code, or 128 + signal. */
  readonly status: number;
  /** Nanoseconds since 1970; undefined if it is not known. */
  readonly at: bigint | undefined;
}

export interface ProcessState extends StdioPaths {
  readonly id: string;
  readonly execId: string;
  /** "created", "running", "paused", "pausing", "stopped", "unknown". */
  readonly status: string;
  readonly pid: number;
  /** Known once it is stopped. */
  readonly exit: Exit | undefined;
  /** Empty where the one who answers does not tell. */
  readonly bundle: string;
}

/** The processes of one container; an empty exec id is its init. Calls reject with an error that problem.ts explains. */
export interface TaskPort {
  readonly id: string;
  state(execId: string): Promise<ProcessState>;
  /** Registers an exec; `process` is an OCI process. */
  exec(execId: string, process: Record<string, unknown>, stdio: StdioPaths): Promise<void>;
  /** Resolves to its pid. */
  start(execId: string): Promise<number>;
  wait(execId: string): Promise<Exit>;
  kill(execId: string, signal: number, all?: boolean): Promise<void>;
  resize(execId: string, columns: number, rows: number): Promise<void>;
  closeInput(execId: string): Promise<void>;
  /** Removes what has ended. Resolves to how it ended. */
  delete(execId: string): Promise<Exit>;
}
