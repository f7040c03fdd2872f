// One process of a container: its init, or an exec. Holds what is known of it and tells those who wait for its exit. Used by container.ts.

import type { ProcessDump } from "../api/dump.ts";
import type { Child } from "../reaper/reaper.ts";
import type { Stdio, StdioConfig } from "../stdio/stdio.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { demand, type Operation, type State } from "./lifecycle.ts";

/** How a process ended. */
export interface ProcessExit {
  /** Exit code, or 128 + signal. */
  readonly status: number;
  /** Nanoseconds since 1970. */
  readonly at: bigint;
}

export class Process {
  readonly kind: "init" | "exec";
  /** The exec's id; for the init, the container's. */
  readonly id: string;
  readonly config: StdioConfig;
  state: State = "created";
  stdio: Stdio | undefined;
  exit: ProcessExit | undefined;
  #child: Child | undefined;
  /** Known before there is a terminal: kept for it. */
  #size: [columns: number, rows: number] | undefined;
  /** Told before there is stdio: kept for it. */
  #isStdinClosed = false;
  #settle: (exit: ProcessExit) => void = () => {};
  #abandon: (error: Error) => void = () => {};
  readonly #ended: Promise<ProcessExit>;

  constructor(kind: "init" | "exec", id: string, config: StdioConfig) {
    this.kind = kind;
    this.id = id;
    this.config = config;
    this.#ended = new Promise((resolve, reject) => {
      this.#settle = resolve;
      this.#abandon = reject;
    });
    // Nobody has to be waiting when a process is deleted before it ran.
    this.#ended.catch(() => {});
  }

  /** 0 before there is a process. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Throws a TtrpcError if the process's state refuses the operation. */
  demand(operation: Operation): void {
    demand(this.kind, operation, this.state);
  }

  /** The stdio that the process is about to be made with. */
  attach(stdio: Stdio): void {
    this.stdio = stdio;
    if (this.#size !== undefined) stdio.resize(...this.#size);
    if (this.#isStdinClosed) stdio.closeStdin();
  }

  /** The process exists, and is this child of ours. */
  became(child: Child): void {
    this.#child = child;
    void child.exited.then(() => this.stdio?.processEnded());
  }

  /** The process runs; unless it has come to its end meanwhile. */
  started(): void {
    if (this.state === "created") this.state = "running";
  }

  signal(signal: number): void {
    this.#child?.kill(signal);
  }

  resize(columns: number, rows: number): void {
    this.#size = [columns, rows];
    this.stdio?.resize(columns, rows);
  }

  closeStdin(): void {
    this.#isStdinClosed = true;
    this.stdio?.closeStdin();
  }

  /** The exit, at once if it is known. Rejects with NOT_FOUND if the process is deleted before it ran. */
  wait(): Promise<ProcessExit> {
    return this.#ended;
  }

  dump(): ProcessDump {
    return { id: this.id, state: this.state, pid: this.pid, status: this.exit?.status };
  }

  exited(exit: ProcessExit): void {
    this.exit = exit;
    this.state = "stopped";
    this.#settle(exit);
  }

  deleted(): void {
    this.state = "deleted";
    this.stdio?.close();
    this.#abandon(new TtrpcError(Code.NOT_FOUND, `process ${this.id} was deleted before it ran`));
  }
}
