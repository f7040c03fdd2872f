// Runs holdfast as users do: the program that was built, against a daemon. Used by the tests in this directory.
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { after } from "node:test";
import { type CommandOptions, type Output, Running, run } from "../harness/command.ts";
import { Daemon, type DaemonOptions } from "../harness/daemon.ts";
import { patience } from "../harness/eventually.ts";
import { GO_RUNTIME, runtimeName } from "../harness/runtime.ts";
import { Terminal, type TerminalSize } from "../harness/terminal.ts";

/** HOLDFAST_TEST_CLI names another build. */
const PROGRAM = resolve(
  process.env.HOLDFAST_TEST_CLI ?? join(dirname(dirname(import.meta.dirname)), "dist/holdfast"),
);

/** Less than the runner's own limit, which tells nothing. */
const WHOLE_TEST_MS = patience(240_000);

export class Cli {
  readonly directory: string;
  readonly program: string = PROGRAM;
  /** The same on Node: what the program goes on as where it cannot itself. */
  readonly nodeProgram: string = `${PROGRAM}-node`;
  /** Where its fifos are. */
  readonly fifos: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #namespace: string | undefined;

  /** For a daemon, or for no daemon at all. */
  constructor(daemon?: Daemon) {
    this.directory = realpathSync(mkdtempSync(join(tmpdir(), "holdfast-cli-")));
    this.fifos = join(this.directory, "fifos");
    this.#namespace = daemon?.namespace;
    this.#env = {
      HOLDFAST_ADDRESS: daemon?.address ?? join(this.directory, "none.sock"),
      HOLDFAST_NAMESPACE: daemon?.namespace ?? "none",
      HOLDFAST_LOGS: join(this.directory, "logs"),
      HOLDFAST_FIFOS: this.fifos,
      HOLDFAST_STATE: daemon === undefined ? "" : join(daemon.directory, "state"),
      HOLDFAST_RUNTIME: runtimeName,
      // A machine that is busy for a while fails no test; those about what hangs give a shorter time.
      HOLDFAST_TIMEOUT: "60s",
    };
  }

  /** `shim` looks at the whole host, where others may have a container of the same name: ours only. */
  argv(args: readonly string[]): string[] {
    const [verb = "", ...rest] = args;
    const place = verb === "shim" && this.#namespace !== undefined ? ["-n", this.#namespace] : [];
    return [this.program, verb, ...place, ...rest];
  }

  /** To its end, whatever its exit status. */
  run(args: readonly string[], options: CommandOptions = {}): Promise<Output> {
    return run(this.argv(args), this.#with(options));
  }

  /** The same by the program that is on Node for all verbs. */
  runOnNode(args: readonly string[], options: CommandOptions = {}): Promise<Output> {
    return run([this.nodeProgram, ...this.argv(args).slice(1)], this.#with(options));
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

  /** Beside whatever a test does meanwhile: it may take as long as the test. */
  spawn(args: readonly string[], options: CommandOptions = {}): Running {
    return new Running(this.argv(args), this.#with({ timeoutMs: WHOLE_TEST_MS, ...options }));
  }

  terminal(args: readonly string[], size: TerminalSize = { rows: 30, columns: 100 }): Terminal {
    return Terminal.run(this.argv(args), size, this.#with({}));
  }

  /** A shell on a terminal with `holdfast` in $H, for what happens to the terminal after it. */
  shellTerminal(script: string): Terminal {
    const env = { H: this.program };
    return Terminal.run(["sh", "-c", script], { rows: 30, columns: 100 }, this.#with({ env }));
  }

  /** A line of bash with `holdfast` in $H. */
  shell(script: string): Running {
    return new Running(["bash", "-c", script], this.#with({ env: { H: this.program } }));
  }

  close(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  #with(options: CommandOptions): CommandOptions {
    return { ...options, env: { ...this.#env, ...options.env } };
  }
}

/** A daemon and its command line; both go when the tests of the file are done. */
export async function onDaemon(options: DaemonOptions = {}): Promise<{ daemon: Daemon; cli: Cli }> {
  const daemon = await Daemon.start(options);
  const cli = new Cli(daemon);
  after(async () => {
    cli.close();
    await daemon.close();
  });
  return { daemon, cli };
}

/** The arguments of ctr for a detached container behind Debian's Go shim, on a daemon that uses ours. */
export function goContainer(daemon: Daemon, id: string, command: readonly string[]): string[] {
  daemon.ctr.ids.add(id);
  const fixed = ["run", "--detach", "--runtime", GO_RUNTIME, "--fifo-dir", join(daemon.directory, "fifo")];
  return [...fixed, "--env", "PATH=/bin", "--rootfs", daemon.rootfs, id, ...command];
}
