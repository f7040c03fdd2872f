// Runs programs for the tests and collects what they print. Used by everything in test/, scripts/demo.ts and bench/.
import { type ChildProcess, type StdioOptions, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { patience } from "./eventually.ts";

export interface Output {
  /** The exit status; 128 + n after signal n, like a shell. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  /** What the program reads: nothing (the default), this text, or a pipe that the caller writes to. */
  readonly stdin?: string | Uint8Array | "pipe";
  /** Leave stdout to the caller (Running.stdout) instead of collecting it as text. */
  readonly rawStdout?: boolean;
  readonly rawStderr?: boolean;
  /** After so many milliseconds it is killed and the promise rejects: a bound for a hang, not a measure. */
  readonly timeoutMs?: number;
}

export class CommandFailure extends Error {
  readonly argv: readonly string[];
  readonly output: Output;
  constructor(argv: readonly string[], output: Output, reason: string) {
    super(`${argv.join(" ")}: ${reason}\nstdout: ${output.stdout}\nstderr: ${output.stderr}`);
    this.argv = argv;
    this.output = output;
  }
}

const SIGNAL_NUMBERS: Record<string, number> = { SIGHUP: 1, SIGINT: 2, SIGABRT: 6, SIGKILL: 9, SIGTERM: 15 };

/** A program that has been started. */
export class Running {
  readonly argv: readonly string[];
  readonly child: ChildProcess;
  /** Resolves when it has exited and its output is read; rejects when it could not start or ran too long. */
  readonly exited: Promise<Output>;
  #stdout = "";
  #stderr = "";
  #watchers = new Set<() => void>();
  #ended = false;

  constructor(argv: readonly string[], options: CommandOptions = {}) {
    this.argv = argv;
    const stdin = options.stdin === undefined ? "ignore" : "pipe";
    const stdio: StdioOptions = [stdin, "pipe", "pipe"];
    const [program = "", ...args] = argv;
    this.child = spawn(program, args, { stdio, env: { ...process.env, ...options.env }, cwd: options.cwd });
    if (!options.rawStdout) collect(this.stdout, (text) => this.#append("out", text));
    if (!options.rawStderr) collect(this.stderr, (text) => this.#append("err", text));
    if (options.stdin !== undefined) this.child.stdin?.on("error", () => {});
    if (options.stdin !== undefined && options.stdin !== "pipe") this.child.stdin?.end(options.stdin);
    this.exited = this.#completion(options.timeoutMs ?? patience(60_000));
    this.exited.catch(() => {});
  }

  get pid(): number {
    return this.child.pid ?? -1;
  }
  get stdin(): Writable {
    if (this.child.stdin === null) throw new Error("no stdin pipe");
    return this.child.stdin;
  }
  get stdout(): Readable {
    if (this.child.stdout === null) throw new Error("no stdout pipe");
    return this.child.stdout;
  }
  get stderr(): Readable {
    if (this.child.stderr === null) throw new Error("no stderr pipe");
    return this.child.stderr;
  }
  get stdoutText(): string {
    return this.#stdout;
  }
  get stderrText(): string {
    return this.#stderr;
  }

  /** Resolves once the collected stdout and stderr together match; rejects when the program ends without. */
  async printed(pattern: RegExp, timeoutMs: number = patience(60_000)): Promise<RegExpMatchArray> {
    return new Promise((done, fail) => {
      const timer = setTimeout(() => finish(`did not print ${pattern}`), timeoutMs);
      const look = (): void => {
        const match = this.#stdout.match(pattern) ?? this.#stderr.match(pattern);
        if (match !== null) finish(undefined, match);
        else if (this.#ended) finish(`ended and never printed ${pattern}`);
      };
      const finish = (reason?: string, match?: RegExpMatchArray): void => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        if (match !== undefined) done(match);
        else fail(new CommandFailure(this.argv, this.#output(-1), reason ?? ""));
      };
      this.#watchers.add(look);
      look();
    });
  }

  kill(signal: NodeJS.Signals = "SIGKILL"): void {
    this.child.kill(signal);
  }

  #append(stream: "out" | "err", text: string): void {
    if (stream === "out") this.#stdout += text;
    else this.#stderr += text;
    for (const watcher of [...this.#watchers]) watcher();
  }

  #output(status: number): Output {
    return { status, stdout: this.#stdout, stderr: this.#stderr };
  }

  #completion(timeoutMs: number): Promise<Output> {
    return new Promise((done, fail) => {
      const timer = setTimeout(() => {
        this.child.kill("SIGKILL");
        fail(new CommandFailure(this.argv, this.#output(-1), `still running after ${timeoutMs} ms`));
      }, timeoutMs);
      this.child.on("error", (error) => {
        clearTimeout(timer);
        fail(error);
      });
      this.child.on("close", (code, signal) => {
        clearTimeout(timer);
        this.#ended = true;
        for (const watcher of [...this.#watchers]) watcher();
        done(this.#output(code ?? 128 + (SIGNAL_NUMBERS[signal ?? ""] ?? 0)));
      });
    });
  }
}

function collect(stream: Readable, append: (text: string) => void): void {
  stream.setEncoding("utf8");
  stream.on("data", append);
}

/** Runs a program to its end, whatever its exit status. */
export function run(argv: readonly string[], options: CommandOptions = {}): Promise<Output> {
  return new Running(argv, options).exited;
}

/** Runs a program to its end and returns what it printed on stdout; rejects unless it exits with 0. */
export async function check(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
  const output = await run(argv, options);
  if (output.status !== 0) throw new CommandFailure(argv, output, `exit status ${output.status}`);
  return output.stdout;
}
