// What a process's stdin, stdout and stderr are, as the task service sees them; pipes.ts and console.ts are the two ways to have them.

import type { OutputPolicy } from "../api/output-policy.ts";
import type { Log } from "../log/log.ts";
import type { Platform, SpawnRequest } from "../platform/platform.ts";
import type { OverflowFigures } from "./overflow.ts";
import type { StdioRecord } from "./records.ts";

/** The stdio part of a Create or Exec request. */
export interface StdioConfig {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/** What the shim knows of the process that the client does not say. */
export interface ProcessStdioConfig extends StdioConfig {
  /** Whether a client may come for it long after it was started, as for an init. */
  readonly mayBeAttachedLater: boolean;
  /** What becomes of output that nobody takes. */
  readonly policy: OutputPolicy;
}

/** Who owns the pipes' inodes, so that a container of another user may reopen /dev/stdout. */
export interface PipeOwner {
  readonly uid: number;
  readonly gid: number;
  /** Whether the client named it: it is an error then if the pipes cannot be given. */
  readonly isAskedFor: boolean;
}

/** A program that the shim runs beside a container. */
export interface Helper {
  readonly pid: number;
  readonly pidfd: number;
  /** Settles when it has been reaped; never rejects. */
  readonly exited: Promise<unknown>;
  kill(signal: number): void;
}

/** What stdio needs of its container. */
export interface StdioContext {
  readonly platform: Platform;
  readonly log: Log;
  readonly namespace: string;
  /** The container's id. */
  readonly container: string;
  readonly bundle: string;
  /** Starts and reaps a program, which must not have the shim's OOM score. Throws a SystemError if it cannot be started. */
  spawn(request: SpawnRequest): Helper;
  /** Takes a program over that an earlier shim has started. */
  adopt(pid: number, pidfd: number): Helper;
  /** Whether it is made good when the shim dies: its programs live on then. */
  readonly isKept: boolean;
  /** Whether a container may go on while there is neither shim nor keeper: its pipes must not break then, and are found again. */
  readonly isAdoptable: boolean;
  /** To be called whenever what record() tells has changed, before a descriptor is closed that it named. */
  changed(): void;
}

export interface Stdio {
  /** The runtime's stdin, stdout and stderr, which become the process's; -1 for /dev/null. */
  readonly childFds: readonly [number, number, number];
  /** The console socket for the runtime, relative to the bundle. */
  readonly consoleSocket: string | undefined;
  /** undefined before attached() and after close(). */
  record(): StdioRecord | undefined;
  /** To be awaited before the runtime makes the process. Rejects if a logger does not get ready. */
  ready(): Promise<void>;
  /**
   * To be called when the runtime has made the process: takes the terminal, or closes the child's ends, and begins to move bytes. Until then
   * nothing is read, so that a runtime's own words never reach the process's output. Rejects if no terminal came.
   */
  attached(): Promise<void>;
  /** What a runtime that failed has said on the stderr that was to be the process's; empty with a terminal. */
  runtimeWords(): string;
  /** From now on stdin ends when its last writer closes. */
  closeStdin(): void;
  /** Sets the terminal's size in characters, now or as soon as there is one. Nothing without a terminal. */
  resize(columns: number, rows: number): void;
  /** To be called when the process has ended, whoever else still holds its stdio. */
  processEnded(): void;
  /**
   * To be called after processEnded(): settles when all output has been handed over. Somebody else who holds it is waited for only as long
   * as bytes come; a reader that does not read, without end.
   */
  drain(): Promise<void>;
  /** Of all its streams together; undefined if its policy is to wait. */
  figures(): OverflowFigures | undefined;
  /** Closes everything; what has not been handed over is lost. Closing twice does nothing. */
  close(): void;
}
