// Runs holdfast as users do: bundled once for a test file, then as a program of its own. Used by the tests in this directory.
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { type CommandOptions, type Output, Running, run } from "../harness/command.ts";
import type { Daemon } from "../harness/daemon.ts";
import { GO_RUNTIME, runtimeName } from "../harness/runtime.ts";
import { Terminal, type TerminalSize } from "../harness/terminal.ts";

const ENTRY = join(import.meta.dirname, "../../cmd/holdfast/main.ts");
/** What of CommonJS is in the bundle wants require(). */
const BANNER = 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);';

export class Cli {
  readonly directory: string;
  readonly program: string;
  readonly #env: Readonly<Record<string, string>>;

  private constructor(directory: string, env: Readonly<Record<string, string>>) {
    this.directory = directory;
    this.program = join(directory, "holdfast.mjs");
    this.#env = env;
  }

  /** For a daemon, or for no daemon at all. */
  static async build(daemon?: Daemon): Promise<Cli> {
    const directory = realpathSync(mkdtempSync(join(tmpdir(), "holdfast-cli-")));
    const cli = new Cli(directory, {
      HOLDFAST_ADDRESS: daemon?.address ?? join(directory, "none.sock"),
      HOLDFAST_NAMESPACE: daemon?.namespace ?? "none",
      HOLDFAST_LOGS: join(directory, "logs"),
      HOLDFAST_RUNTIME: runtimeName,
    });
    await build({
      entryPoints: [ENTRY],
      outfile: cli.program,
      bundle: true,
      platform: "node",
      format: "esm",
      target: "node20",
      banner: { js: BANNER },
      logLevel: "warning",
    });
    return cli;
  }

  argv(args: readonly string[]): string[] {
    return [process.execPath, this.program, ...args];
  }

  /** To its end, whatever its exit status. */
  run(args: readonly string[], options: CommandOptions = {}): Promise<Output> {
    return run(this.argv(args), this.#with(options));
  }

  /** To its end; rejects unless it succeeds. Returns its stdout. */
  async do(args: readonly string[], options: CommandOptions = {}): Promise<string> {
    const output = await this.run(args, options);
    if (output.status !== 0) {
      throw new Error(
        `holdfast ${args.join(" ")}: exit status ${output.status}\n${output.stdout}${output.stderr}`,
      );
    }
    return output.stdout;
  }

  /** The same with --json, parsed. */
  async json(args: readonly string[]): Promise<unknown> {
    return JSON.parse(await this.do([...args.slice(0, 1), "--json", ...args.slice(1)]));
  }

  spawn(args: readonly string[], options: CommandOptions = {}): Running {
    return new Running(this.argv(args), this.#with(options));
  }

  terminal(args: readonly string[], size: TerminalSize = { rows: 30, columns: 100 }): Terminal {
    return Terminal.run(this.argv(args), size, this.#with({}));
  }

  /** A shell on a terminal with `holdfast` in $H and $HM, for what happens to the terminal after it. */
  shellTerminal(script: string): Terminal {
    const env = { H: process.execPath, HM: this.program };
    return Terminal.run(["sh", "-c", script], { rows: 30, columns: 100 }, this.#with({ env }));
  }

  close(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  #with(options: CommandOptions): CommandOptions {
    return { ...options, env: { ...this.#env, ...options.env } };
  }
}

/** The arguments of ctr for a detached container behind Debian's Go shim, on a daemon that uses ours. */
export function goContainer(daemon: Daemon, id: string, command: readonly string[]): string[] {
  daemon.ctr.ids.add(id);
  const fixed = ["run", "--detach", "--runtime", GO_RUNTIME, "--fifo-dir", join(daemon.directory, "fifo")];
  return [...fixed, "--env", "PATH=/bin", "--rootfs", daemon.rootfs, id, ...command];
}
