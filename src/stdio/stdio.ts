// What a process's stdin, stdout and stderr are, as the task service sees them; pipes.ts and console.ts are the two ways to have them.

/** The stdio part of a Create or Exec request. */
export interface StdioConfig {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/** Who owns the pipes' inodes, so that a container of another user may reopen /dev/stdout. */
export interface PipeOwner {
  readonly uid: number;
  readonly gid: number;
}

export interface Stdio {
  /** The runtime's stdin, stdout and stderr, which become the process's; -1 for /dev/null. */
  readonly childFds: readonly [number, number, number];
  /** The console socket for the runtime, relative to the bundle. */
  readonly consoleSocket: string | undefined;
  /** To be called when the runtime has made the process: closes the child's ends, takes the terminal. Rejects if no terminal came. */
  attached(): Promise<void>;
  /** From now on stdin ends when its last writer closes. */
  closeStdin(): void;
  /** Sets the terminal's size in characters, now or as soon as there is one. Nothing without a terminal. */
  resize(columns: number, rows: number): void;
  /** Settles when all output has been handed over. */
  readonly drained: Promise<void>;
  /** Closes everything; what has not been handed over is lost. Closing twice does nothing. */
  close(): void;
}
