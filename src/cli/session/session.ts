// Being in front of a process: its output to ours, our input to it, the terminal's size, signals, and at the end its exit status.
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { isSystemError } from "../../platform/platform.ts";
import { Code } from "../../ttrpc/status.ts";
import { NO_READER } from "../text/output.ts";
import { callCode, errorText, FAILED, Problem, systemText } from "../text/problem.ts";
import { complain } from "../text/screen.ts";
import { signalNumber } from "../text/signals.ts";
import { DetachKeys } from "./detach-keys.ts";
import type { Fifos } from "./fifos.ts";
import type { Exit, TaskPort } from "./task-port.ts";
import type { RawMode } from "./terminal.ts";
import { terminalSize } from "./terminal-size.ts";

/** What goes to the process instead of us. */
const PROXIED: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"];
/** Who asks for an end so often does not want to wait for the process. */
const PATIENCE = 3;
/** How long a process may take to end by SIGPIPE, in ms: the init of a container gets only those signals that it asks for. */
const PIPE_PATIENCE = 500;
/** How long output may still come after the end of the process, in ms: a child of its own may hold it open. */
const DRAIN_TIMEOUT = 10_000;

export interface SessionOptions {
  readonly task: TaskPort;
  readonly execId: string;
  readonly fifos: Fifos;
  /** Bytes of parseDetachKeys. */
  readonly detachKeys: readonly number[];
  readonly signalProxy: boolean;
  /** Whether the process is to end when nobody takes its output from us any more, as it would by SIGPIPE; it is left running otherwise. */
  readonly endsWithReader: boolean;
  /** Whether the terminal has been somebody else's: a program that draws on it is to draw anew. */
  readonly redraw?: boolean;
}

/** "detached" if the process was left running. */
export type Outcome = Exit | "detached";

export class Session {
  readonly #options: SessionOptions;
  readonly #outputs: Promise<void>[] = [];
  readonly #undo: (() => void)[] = [];
  #raw: RawMode | undefined;
  #detach: () => void = () => {};
  readonly #detached: Promise<"detached">;
  #ended = false;
  #begun = false;
  /** Why what we print gets nowhere. */
  #lost: Error | undefined;
  /** Signals for a process that was not there yet. */
  readonly #early: NodeJS.Signals[] = [];

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#detached = new Promise((resolve) => {
      this.#detach = () => resolve("detached");
    });
    if (options.signalProxy) this.#proxySignals();
  }

  /**
   * To be called once the process runs: its output, our input and the size begin, and signals that came before are passed on. Output waits
   * until the terminal is raw: what is typed in answer to a prompt must not meet a terminal that still minds control keys.
   */
  async begin(): Promise<void> {
    const { fifos } = this.#options;
    fifos.taken();
    if (fifos.paths.terminal) this.#followSize();
    if (fifos.stdin !== undefined && fifos.paths.terminal && process.stdin.isTTY) {
      const { RawMode } = await import("./terminal.ts");
      const raw = await RawMode.enter();
      // Closed meanwhile: nobody else would give the terminal back.
      if (this.#ended) raw.restore();
      else this.#raw = raw;
    }
    this.#forward(fifos.stdout, process.stdout);
    this.#forward(fifos.stderr, process.stderr);
    if (fifos.stdin !== undefined) this.#takeInput();
    this.#begun = true;
    for (const signal of this.#early.splice(0)) this.#pass(signal);
  }

  /** Resolves when the process has ended and all its output is out, or when the user has detached. */
  async outcome(exit: Promise<Exit>): Promise<Outcome> {
    try {
      const outcome = await Promise.race([exit, this.#detached]);
      this.#ended = true;
      if (outcome !== "detached") await this.#drained();
      if (this.#lost === undefined || outcome === "detached") return outcome;
      return { ...outcome, status: lostStatus(this.#lost) };
    } finally {
      this.close();
    }
  }

  /** Gives the terminal back and lets go of the process. */
  close(): void {
    this.#ended = true;
    this.#raw?.restore();
    for (const undo of this.#undo.splice(0)) undo();
    this.#options.fifos.close();
  }

  #forward(source: Readable | undefined, sink: NodeJS.WriteStream): void {
    if (source === undefined) return;
    const ended = new Promise<void>((resolve) => {
      source.once("close", resolve);
    });
    source.on("error", () => {});
    const failed = (error: Error): void => {
      source.removeAllListeners("data").resume();
      this.#readerLeft(error);
    };
    sink.on("error", failed);
    this.#undo.push(() => sink.off("error", failed));
    source.on("data", (chunk: Buffer) => {
      if (sink.write(chunk)) return;
      source.pause();
      sink.once("drain", () => source.resume());
    });
    this.#outputs.push(ended);
  }

  /** What still comes is thrown away: a process that blocks on a full pipe would not end. */
  #readerLeft(error: Error): void {
    if (this.#lost !== undefined) return;
    this.#lost = error;
    if (this.#options.endsWithReader) void this.#endByPipe();
    else {
      process.exitCode = lostStatus(error);
      this.#detach();
    }
  }

  async #endByPipe(): Promise<void> {
    const { task, execId } = this.#options;
    // A kill may fail: the runtime is busy, or the daemon away. Nobody else would end it.
    for (let signal = "SIGPIPE"; !this.#ended; signal = "SIGKILL") {
      await task.kill(execId, signalNumber(signal)).catch(() => {});
      await sleep(PIPE_PATIENCE, undefined, { ref: false });
    }
  }

  async #drained(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, DRAIN_TIMEOUT);
    });
    await Promise.race([Promise.all(this.#outputs), late]);
    clearTimeout(timer);
  }

  #takeInput(): void {
    const { fifos, task, execId, detachKeys } = this.#options;
    const sink = fifos.stdin;
    if (sink === undefined) return;
    const keys = new DetachKeys(this.#raw === undefined ? [] : detachKeys);
    // The process may end, or close its input, while we still have some.
    sink.on("error", () => process.stdin.pause());
    const take = (chunk: Buffer): void => {
      const { forward, detached } = keys.feed(chunk);
      if (forward.length > 0 && !sink.destroyed && !sink.write(forward)) {
        process.stdin.pause();
        sink.once("drain", () => process.stdin.resume());
      }
      if (detached) this.#detach();
    };
    const end = (): void => {
      // The shim holds the fifo open too, so that we may go and come back: it has to be told.
      sink.end(() => {
        if (!this.#ended) task.closeInput(execId).catch(() => {});
      });
    };
    process.stdin.on("data", take).once("end", end);
    process.stdin.on("error", end);
    this.#undo.push(() => {
      process.stdin.off("data", take).off("end", end);
      process.stdin.pause();
    });
  }

  #followSize(): void {
    const { task, execId, redraw } = this.#options;
    // One after the other: calls that are under way together may be answered in any order, and the older size would stay.
    let last = Promise.resolve();
    const tell = (more = 0): void => {
      last = last.then(async () => {
        const size = terminalSize();
        if (size !== undefined) await task.resize(execId, size.columns, size.rows + more).catch(() => {});
      });
    };
    // Programs draw anew when the size changes, and only then.
    if (redraw === true) tell(1);
    tell();
    const changed = (): void => tell();
    process.on("SIGWINCH", changed);
    this.#undo.push(() => process.off("SIGWINCH", changed));
  }

  #proxySignals(): void {
    const { fifos } = this.#options;
    let asked = 0;
    for (const signal of PROXIED) {
      const pass = (): void => {
        // Our terminal is gone: nobody is in front any more, and the process goes on.
        if (signal === "SIGHUP" && fifos.paths.terminal) {
          this.#detach();
          return;
        }
        if ((signal === "SIGINT" || signal === "SIGTERM") && ++asked > PATIENCE) {
          this.close();
          complain(`it does not end by ${signal} and goes on without us`);
          process.exit(128 + signalNumber(signal));
        }
        if (this.#begun) this.#pass(signal);
        else this.#early.push(signal);
      };
      process.on(signal, pass);
      this.#undo.push(() => process.off(signal, pass));
    }
  }

  #pass(signal: NodeJS.Signals): void {
    const { task, execId } = this.#options;
    task.kill(execId, signalNumber(signal)).catch((error) => {
      if (callCode(error) !== Code.NOT_FOUND) this.#complain(signal, error);
    });
  }

  #complain(signal: string, error: unknown): void {
    complain(`${signal} not passed on: ${errorText(error)}`);
  }
}

/** What we end with when our output cannot be written; says why, if it is not only that nobody wants it. */
function lostStatus(error: Error): number {
  if (isSystemError(error, "EPIPE")) return NO_READER;
  complain(`cannot write the output: ${systemText(error)}`);
  return FAILED;
}

/** What takes input and follows logs is loaded before anything has been done: in the native program it is not, which goes on in Node. */
export async function loadInput(): Promise<void> {
  await import("./terminal.ts");
}

/** Throws a Problem if a terminal is asked for, with input, where there is none. */
export async function demandTerminal(terminal: boolean, interactive: boolean): Promise<void> {
  if (!interactive) return;
  await loadInput();
  if (terminal && !process.stdin.isTTY) {
    throw new Problem("-t with -i needs a terminal as input: leave -t out, or run it in a terminal");
  }
}
