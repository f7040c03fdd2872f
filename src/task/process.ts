// One process of a container: its init, or an exec. Holds its state and what is known of it, and answers those who wait for its exit.

import type { ProcessDump } from "../api/dump.ts";
import { fieldsOnce } from "../platform/json-fields.ts";
import { SIGKILL } from "../platform/platform.ts";
import type { Identity } from "../reaper/process-stat.ts";
import type { Child } from "../reaper/reaper.ts";
import type { StdioRecord } from "../stdio/records.ts";
import type { Stdio, StdioConfig } from "../stdio/stdio.ts";
import type { CancelSignal } from "../ttrpc/cancel.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { type Kind, next, type Occurrence, type Request, type State } from "./lifecycle.ts";

/** How a process ended. */
export interface ProcessExit {
  /** Exit code, or 128 + signal. */
  readonly status: number;
  /** Nanoseconds since 1970. */
  readonly at: bigint;
  /** Nobody knows how it ended: the status stands for that. */
  readonly isUnknown?: boolean | undefined;
}

/** What a successor of the shim needs to know of a process. */
export interface ProcessRecord extends StdioConfig {
  readonly id: string;
  readonly state: State;
  readonly pid: number;
  /** -1 once it has ended. */
  readonly pidfd: number;
  readonly exit?:
    | { readonly status: number; readonly at: string; readonly isUnknown?: boolean | undefined }
    | undefined;
  /** What is told of an exec whose start came to nothing, and why it did while that may not have been answered. */
  readonly failed?:
    | { readonly status: number; readonly at: string; readonly why?: readonly [code: number, text: string] }
    | undefined;
  readonly identity?: Identity | undefined;
  /** How it ended while there was no shim, for one that was adopted. */
  readonly lost?:
    | { readonly status: number; readonly at?: string | undefined; readonly isUnknown?: boolean | undefined }
    | undefined;
  readonly size?: readonly [columns: number, rows: number] | undefined;
  readonly isStdinClosed: boolean;
  readonly stdio?: StdioRecord | undefined;
}

/** What of that never changes. */
type FixedRecord = StdioConfig & Pick<ProcessRecord, "id">;

/** How Wait is answered for a process that never ran. */
type Answer = ProcessExit | TtrpcError;

export class Process {
  readonly kind: Kind;
  /** The exec's id; for the init, the container's. */
  readonly id: string;
  readonly config: StdioConfig;
  stdio: Stdio | undefined;
  #state: State = "created";
  #exit: ProcessExit | undefined;
  /** The same as soon as it is known, published or not. */
  #death: ProcessExit | undefined;
  #child: Child | undefined;
  #identity: Identity | undefined;
  /** The terminal's, known before there is one: kept for it. */
  size: readonly [columns: number, rows: number] | undefined;
  /** Asked for before there is stdio: kept for it. */
  #isStdinClosed = false;
  /** Whether SIGKILL was sent to it, by us or by the runtime for us. */
  isKilled = false;
  /** What Wait answers, once there is something to answer. */
  #answer: Answer | undefined;
  /** Why its start came to nothing. */
  #failure: TtrpcError | undefined;
  /** Those who wait. A client that polls Wait and gives up must leave nothing behind, so it is no promise that they hang on. */
  readonly #waiters = new Set<(answer: Answer) => void>();

  readonly #changed: () => void;
  /** Of its record. */
  readonly #fixed: () => string;

  /** `changed` is called when what record() tells has changed. */
  constructor(kind: Kind, id: string, config: StdioConfig, changed: () => void = () => {}) {
    this.kind = kind;
    this.id = id;
    this.config = config;
    const { stdin, stdout, stderr, terminal } = config;
    this.#fixed = fieldsOnce((): FixedRecord => ({ id, stdin, stdout, stderr, terminal }));
    this.#changed = changed;
  }

  /** Its ProcessRecord as JSON. */
  record(): string {
    const death = this.#death;
    const changing: Omit<ProcessRecord, keyof FixedRecord> = {
      state: this.#state,
      pid: this.pid,
      pidfd: death === undefined ? (this.#child?.pidfd ?? -1) : -1,
      exit: death && { status: death.status, at: String(death.at), isUnknown: death.isUnknown },
      failed: this.#failed(),
      identity: this.#identity,
      size: this.size,
      isStdinClosed: this.#isStdinClosed,
      stdio: this.stdio?.record(),
    };
    return `{${this.#fixed()},${JSON.stringify(changing).slice(1)}`;
  }

  #failed(): ProcessRecord["failed"] {
    const answer = this.#answer;
    if (this.#state !== "created" || answer === undefined || answer instanceof TtrpcError) return undefined;
    const failed = { status: answer.status, at: String(answer.at) };
    return this.#failure === undefined
      ? failed
      : { ...failed, why: [this.#failure.code, this.#failure.rawMessage] };
  }

  /** Goes on where an earlier shim's process was; `child` and `stdio` are those that were taken over. */
  resume(record: ProcessRecord, child: Child | undefined, stdio: Stdio | undefined): void {
    this.#state = record.state;
    this.size = record.size;
    this.#isStdinClosed = record.isStdinClosed;
    this.stdio = stdio;
    this.#child = child;
    this.#identity = record.identity;
    const { failed } = record;
    if (failed !== undefined) this.#answer = { status: failed.status, at: BigInt(failed.at) };
    if (failed?.why !== undefined) this.#failure = new TtrpcError(...failed.why);
    if (record.exit === undefined) {
      void child?.exited.then(() => this.stdio?.processEnded());
      return;
    }
    const { status, at, isUnknown } = record.exit;
    this.#death = { status, at: BigInt(at), isUnknown };
    stdio?.processEnded();
    if (record.state === "stopped") this.#exit = this.#answer = this.#death;
  }

  /** How it ended, published or not. */
  get death(): ProcessExit | undefined {
    return this.#death;
  }

  get state(): State {
    return this.#state;
  }

  /** How it ended; undefined before the exit is published. */
  get exit(): ProcessExit | undefined {
    return this.#exit;
  }

  /** 0 before there is a process. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Does the request's part of the lifecycle. Throws a TtrpcError if the state refuses it. */
  request(request: Request): void {
    const before = this.#state;
    this.#state = next(this.kind, request, before);
    if (this.#state !== before) this.#changed();
    // A second attempt: who waits from now on waits for its end.
    if (request === "start") this.#answer = this.#failure = undefined;
  }

  /** Notes what has come to pass. */
  happened(occurrence: Exclude<Occurrence, "exited" | "deleted" | "startFailed">): void {
    this.#state = next(this.kind, occurrence, this.#state);
    this.#changed();
  }

  /** Its process has ended; the exit is published later. */
  died(exit: ProcessExit): void {
    this.#death = exit;
    this.happened("died");
  }

  /** The stdio that the process is about to be made with. */
  attach(stdio: Stdio): void {
    this.stdio = stdio;
    if (this.size !== undefined) stdio.resize(...this.size);
    if (this.#isStdinClosed) stdio.closeStdin();
  }

  /** The process exists, and is this child of ours. */
  became(child: Child, identity?: Identity): void {
    this.#child = child;
    this.#identity = identity;
    this.#changed();
    void child.exited.then(() => this.stdio?.processEnded());
  }

  signal(signal: number): void {
    if (signal === SIGKILL) this.isKilled = true;
    this.#child?.kill(signal);
  }

  resize(columns: number, rows: number): void {
    this.size = [columns, rows];
    this.#changed();
    this.stdio?.resize(columns, rows);
  }

  closeStdin(): void {
    this.#isStdinClosed = true;
    this.#changed();
    this.stdio?.closeStdin();
  }

  /** The exit, at once if it is known. Rejects with NOT_FOUND if the process is deleted before it ran, with CANCELLED if the caller goes away. */
  wait(caller?: CancelSignal): Promise<ProcessExit> {
    return new Promise((resolve, reject) => {
      const answered = (answer: Answer): void => {
        forget();
        if (answer instanceof TtrpcError) reject(answer);
        else resolve(answer);
      };
      let forget = (): void => {};
      if (this.#answer !== undefined) {
        answered(this.#answer);
        return;
      }
      this.#waiters.add(answered);
      if (caller === undefined) return;
      forget = caller.onCancel(() => {
        this.#waiters.delete(answered);
        reject(new TtrpcError(Code.CANCELLED, "nobody waits any more"));
      });
    });
  }

  dump(): ProcessDump {
    const output = this.stdio?.figures();
    return {
      id: this.id,
      state: this.#state,
      pid: this.pid,
      status: this.#exit?.status,
      ...(output && { output: { dropped: Number(output.dropped), waiting: Number(output.waiting) } }),
    };
  }

  /** A start came to nothing: the process is as it was before. Who waits for an exec gets `exit`, as no other will come, and who asked for the start `why`. */
  startFailed(exit?: ProcessExit, why?: unknown): void {
    this.#state = next(this.kind, "startFailed", this.#state);
    if (why !== undefined) this.#failure = TtrpcError.from(why);
    if (exit !== undefined && this.#state === "created") this.#settle(exit);
    this.#changed();
  }

  /** Why its start came to nothing, for whoever asked an earlier shim for it: others have been told of its end already, so it must not run after all. */
  takeFailure(): TtrpcError | undefined {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) this.#changed();
    return failure;
  }

  exited(exit: ProcessExit): void {
    this.#state = next(this.kind, "exited", this.#state);
    this.#exit = exit;
    this.#death = exit;
    this.#changed();
    this.#settle(exit);
  }

  deleted(): void {
    this.#state = next(this.kind, "deleted", this.#state);
    this.stdio?.close();
    if (this.#answer === undefined) {
      this.#settle(new TtrpcError(Code.NOT_FOUND, `process ${this.id} was deleted before it ran`));
    }
  }

  #settle(answer: Answer): void {
    this.#answer = answer;
    for (const waiter of this.#waiters) waiter(answer);
    this.#waiters.clear();
  }
}
