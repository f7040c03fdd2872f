// Runs a program to its end, in bounds: shim binaries, umount, mkfifo.
import { spawn } from "node:child_process";
import { childEnvironment } from "./child-environment.ts";

/** More than any answer of a program that behaves. */
const MAX_OUTPUT_BYTES = 1024 * 1024;

export interface ProgramOptions {
  readonly cwd?: string;
  /** All of it; childEnvironment() if left out. */
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: Uint8Array;
  readonly timeoutMs: number;
  /** Gives up, as by the timeout. */
  readonly signal?: AbortSignal;
}

export interface ProgramOutput {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/** Carries what the program said. */
export class ProgramError extends Error {
  readonly stderr: string;

  constructor(argv: readonly string[], what: string, output: ProgramOutput) {
    const said = `${output.stderr.toString()}${output.stdout.toString()}`.trim().slice(0, 2000);
    super(`${argv.join(" ")}: ${what}${said === "" ? "" : `: ${said}`}`);
    this.stderr = output.stderr.toString();
  }
}

/** Rejects with a ProgramError unless it ends with 0 in time. What it has started may live on, also if it has to be killed. */
export function runProgram(argv: readonly string[], options: ProgramOptions): Promise<ProgramOutput> {
  const [file = "", ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd: options.cwd,
      env: options.env ?? childEnvironment(),
      stdio: ["pipe", "pipe", "pipe"],
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    let bytes = 0;
    const output = (): ProgramOutput => ({ stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr) });
    const fail = (what: string): void => {
      finish();
      child.kill("SIGKILL");
      // A grandchild may hold the pipes: nobody waits for it.
      child.stdout.destroy();
      child.stderr.destroy();
      reject(new ProgramError(argv, what, output()));
    };
    const timer = setTimeout(() => fail(`no end after ${options.timeoutMs} ms`), options.timeoutMs);
    const aborted = (): void => fail("given up");
    const finish = (): void => {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", aborted);
    };
    options.signal?.addEventListener("abort", aborted, { once: true });
    const collect = (into: Buffer[]) => (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > MAX_OUTPUT_BYTES) fail(`more than ${MAX_OUTPUT_BYTES} bytes of output`);
      else into.push(chunk);
    };
    child.stdout.on("data", collect(stdout));
    child.stderr.on("data", collect(stderr));
    child.on("error", (error) => fail(error.message));
    child.on("close", (code, signal) => {
      finish();
      if (code === 0) resolve(output());
      else reject(new ProgramError(argv, signal === null ? `exit status ${code}` : signal, output()));
    });
    // It may end without reading.
    child.stdin.on("error", () => {});
    child.stdin.end(options.input ?? new Uint8Array(0));
  });
}
