// What of a process's stdio is written down for a successor of the shim (docs/state.md).

/** What a successor of the shim needs to go on with a process's stdio: descriptors by number, -1 for none. */
export interface StdioRecord {
  readonly input?: InputRecord | undefined;
  /** What the input is written to: a pipe, or the terminal's master. */
  readonly sink: number;
  /** Of that pipe. */
  readonly pipe?: PipeIdentity | undefined;
  readonly outputs: readonly OutputRecord[];
  readonly loggers: readonly LoggerRecord[];
  /** Of a terminal: its other side. */
  readonly held?: number;
}

/** By what a pipe is found again in the processes that have it open, where nobody has kept a descriptor of ours. */
export interface PipeIdentity {
  readonly device: number;
  readonly inode: number;
}

export interface InputRecord {
  readonly source: number;
  readonly writer: number;
  /** Whether it is still to be seen whether a client ever comes. */
  readonly mayBeUnopened: boolean;
}
export interface OutputRecord {
  readonly uri: string;
  /** -1 once it has come to its end. */
  readonly source: number;
  /** Of the source. */
  readonly pipe?: PipeIdentity | undefined;
  readonly sink: number;
  readonly reader: number;
  /** Whether what it was for takes no more: it goes nowhere. */
  readonly broken: boolean;
  /** Files of what the sink has had no room for, the oldest first. */
  readonly waiting?: readonly { readonly input: number; readonly output: number }[] | undefined;
}
export interface LoggerRecord {
  readonly uri: string;
  /** 0 for one that has to be started anew. */
  readonly pid: number;
  readonly pidfd: number;
}
