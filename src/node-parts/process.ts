// node:process as far as the command line uses it.
import * as host from "holdfast:host";
import { EventEmitter } from "node:events";
import { goOnInNode, programPath } from "./go-on.ts";
import { nextTick } from "./next-tick.ts";
import { Output } from "./output.ts";
import { SIGNALS, signalName, signalOf } from "./signals.ts";

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
/** By default they end nobody. */
const HARMLESS: readonly string[] = ["SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH"];

/** Whoever wants more of it than this wants input. */
function ofStdin(name: string | symbol): unknown {
  return name === "isTTY" ? host.isTerminal(STDIN) : goOnInNode("input");
}

class Process extends EventEmitter {
  readonly execPath: string = programPath();
  /** As a program's of Node, which is behind the one that runs it. */
  readonly argv: readonly string[] = [this.execPath, this.execPath, ...host.argv.slice(1)];
  readonly argv0: string = host.argv[0] ?? "holdfast";
  readonly env: Record<string, string | undefined> = host.environment();
  readonly pid: number = host.pid();
  readonly platform = "linux";
  readonly arch: string = host.architecture();
  readonly version = "";
  readonly versions: Readonly<Record<string, string>> = {};
  readonly execArgv: readonly string[] = [];
  title: string = this.argv0;
  exitCode: number | undefined;
  #stdout: Output | undefined;
  #stderr: Output | undefined;

  constructor() {
    super();
    this.on("newListener", (name: string) => this.#listen(name));
  }

  readonly stdin: object = new Proxy({}, { get: (_target, name) => ofStdin(name) });

  get stdout(): Output {
    this.#stdout ??= new Output(STDOUT);
    return this.#stdout;
  }

  get stderr(): Output {
    this.#stderr ??= new Output(STDERR);
    return this.#stderr;
  }

  readonly nextTick: typeof nextTick = nextTick;

  /** In seconds. */
  uptime(): number {
    return (host.monotonicMs() - startedMs) / 1000;
  }

  cwd(): string {
    return host.workingDirectory();
  }

  exit(code: number | undefined = this.exitCode): never {
    this.#giveBack();
    return host.exit((code ?? 0) & 0xff);
  }

  kill(pid: number, signal: string | number = "SIGTERM"): true {
    host.kill(pid, typeof signal === "number" ? signal : signalOf(signal));
    return true;
  }

  getuid(): number {
    return host.userId();
  }

  getgid(): number {
    return host.groupId();
  }

  geteuid(): number {
    return host.effectiveUid();
  }

  umask(mode?: number): number {
    const former = host.umask(mode ?? 0);
    if (mode === undefined) host.umask(former);
    return former;
  }

  /** From its first listener on a signal comes as an event. */
  #listen(name: string): void {
    const number = SIGNALS[name];
    if (number === undefined || heard.has(number)) return;
    heard.add(number);
    host.onSignals([...heard], (received) => this.#signalled(received));
  }

  #signalled(number: number): void {
    const name = signalName(number) ?? "";
    if (this.listenerCount(name) > 0) this.emit(name, name, number);
    else if (!HARMLESS.includes(name)) {
      this.#giveBack();
      host.dieBy(number);
    }
  }

  #giveBack(): void {
    for (const each of [this.#stdout, this.#stderr]) each?.giveBack();
  }
}

const startedMs = host.monotonicMs();
const heard: Set<number> = new Set();

export const process: Process = new Process();
