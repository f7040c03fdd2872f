// Runs the OCI runtime's commands (runc, or any other with its command line) for one container.
import { within } from "../platform/deadline.ts";
import { failpoint } from "../platform/failpoint.ts";
import { type Platform, SIGKILL } from "../platform/platform.ts";
import type { Child, Reaper } from "../reaper/reaper.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { collect } from "./collect.ts";
import { errorOfLine, explainSpawn, RuntimeError } from "./errors.ts";
import type { RuntimeOptions } from "./options.ts";
import { PLAIN_OOM_SCORE, plainSurroundings, runtimeEnvironment } from "./surroundings.ts";

/** Most of a failed command's output that is kept, in bytes. */
const MAX_OUTPUT = 64 << 10;
/** Largest answer of a command that is asked for one (`ps`, `features`), in bytes. */
const MAX_ANSWER = 4 << 20;

/**
 * How long the commands that an exit or a clean-up waits for may take, in ms: a runtime that hangs is killed then, and one goes on without it.
 * `runc delete --force` gives the processes 10 s to die.
 */
const BOUNDS = { kill: 5_000, delete: 12_000, thaw: 2_000, state: 5_000, ps: 5_000 };

/** How often a delete is tried that is killed before it is done. */
const DELETE_ATTEMPTS = 3;

/** What `create` and `exec` need to hook up the new process. */
export interface ProcessSetup {
  readonly pidFile: string;
  /** The process's stdin, stdout and stderr; -1 for /dev/null. */
  readonly fds: readonly [number, number, number];
  /** A unix socket, relative to the bundle, that gets the terminal's descriptor. */
  readonly consoleSocket?: string;
  /** Called with the running command, so that a caller who loses interest can kill it. */
  readonly running?: (command: Child) => void;
}

interface Command {
  readonly args: readonly string[];
  /** Whether its stdio becomes a container's: nothing of the shim's own may be among it then. */
  readonly handsOver?: boolean;
  readonly fds?: readonly [number, number, number];
  readonly running?: (command: Child) => void;
  /** How long it may take, in ms; for ever if absent. */
  readonly bound?: number;
  /** Whether it goes on when the shim is killed: half of it would be worse than all of it. */
  readonly outlivesUs?: boolean;
}

/** The runtime of one container. Every method rejects with a RuntimeError, or an Error that names the program if it cannot be started. */
export class Runc {
  readonly #platform: Platform;
  readonly #reaper: Reaper;
  readonly #id: string;
  readonly #bundle: string;
  readonly #options: RuntimeOptions;
  readonly #root: string;
  /** Log files by number: a command takes the first free one, so that parallel commands never read each other's errors. */
  readonly #logsInUse = new Set<number>();
  readonly #running = new Set<Child>();
  readonly #abandoned = new WeakSet<Child>();

  constructor(
    platform: Platform,
    reaper: Reaper,
    container: { id: string; bundle: string; namespace: string },
    options: RuntimeOptions,
  ) {
    this.#platform = platform;
    this.#reaper = reaper;
    this.#id = container.id;
    this.#bundle = container.bundle;
    this.#options = options;
    this.#root = `${options.root}/${container.namespace}`;
  }

  async create(setup: ProcessSetup): Promise<void> {
    const args = ["create", "--bundle", this.#bundle, ...setupFlags(setup)];
    if (this.#options.noPivotRoot) args.push("--no-pivot");
    if (this.#options.noNewKeyring) args.push("--no-new-keyring");
    await this.#run({ ...setup, handsOver: setup.consoleSocket === undefined, args: [...args, this.#id] });
  }

  /**
   * `running` is called with the command. A shim that is killed must not take it along: the container's first process has let itself be let go by then, and
   * ends with an error when nobody reads what it says.
   */
  async start(running: (command: Child) => void): Promise<void> {
    await this.#run({ args: ["start", this.#id], running, outlivesUs: true });
  }

  /** Takes away what runc leaves of a start in which it was killed when the program had begun: it takes the container for one that waits. */
  forgetStart(): void {
    this.#platform.files.remove(`${this.#root}/${this.#id}/exec.fifo`);
  }

  /** Runs a process in the container. `processFile` holds its specification. */
  async exec(processFile: string, setup: ProcessSetup): Promise<void> {
    const args = ["exec", "--process", processFile, "--detach", ...setupFlags(setup), this.#id];
    await this.#run({ ...setup, handsOver: setup.consoleSocket === undefined, args });
  }

  /** `flags` as src/task/checkpoint.ts makes them. */
  async checkpoint(flags: readonly string[]): Promise<void> {
    await this.#run({ args: ["checkpoint", ...flags, this.#id] });
  }

  /** Makes the container from a checkpoint, and starts it. */
  async restore(flags: readonly string[], setup: ProcessSetup): Promise<void> {
    const args = ["restore", ...flags, "--detach", ...setupFlags(setup)];
    if (this.#options.noPivotRoot) args.push("--no-pivot");
    args.push("--bundle", this.#bundle, this.#id);
    await this.#run({ ...setup, handsOver: setup.consoleSocket === undefined, args });
  }

  async kill(signal: number, all: boolean): Promise<void> {
    const args = ["kill", ...(all ? ["--all"] : []), this.#id, String(signal)];
    await this.#run({ args, bound: BOUNDS.kill });
  }

  /** Whether the runtime's state directory has an entry for the id. */
  isKnown(): boolean {
    // No container is called as every directory calls itself and its parent: the runtime says so.
    if (this.#id === "." || this.#id === "..") return false;
    return this.#platform.files.stat(`${this.#root}/${this.#id}`) !== null;
  }

  /**
   * The bundle of the container that the runtime knows by the id; undefined if it knows none, or one that is only half made. It need not be ours:
   * all daemons of a host share one state directory.
   */
  async knownBundle(): Promise<string | undefined> {
    const { bundle } = await this.#state();
    return typeof bundle === "string" ? bundle : undefined;
  }

  /** "created", "running", "stopped" …; undefined if the runtime does not know, or does not say. */
  async status(): Promise<string | undefined> {
    const { status } = await this.#state();
    return typeof status === "string" ? status : undefined;
  }

  async #state(): Promise<{ bundle?: unknown; status?: unknown }> {
    try {
      return JSON.parse(await this.#ask(["state", this.#id], BOUNDS.state)) ?? {};
    } catch {
      return {};
    }
  }

  /** Whether a path names this container's bundle. The runtime writes paths with all links followed. */
  isOurs(bundle: string): boolean {
    if (bundle === this.#bundle) return true;
    const [one, other] = [bundle, this.#bundle].map((path) => this.#platform.files.stat(`${path}/.`));
    return !!one && !!other && one.inode === other.inode && one.device === other.device;
  }

  /** Gives the commands that are under way `ms` to end and kills them then: the container that they are for has ended. */
  endWithin(ms: number): void {
    for (const command of this.#running) {
      const timer = this.#platform.clock.after(ms, () => command.kill(SIGKILL));
      void command.exited.then(() => timer.cancel());
    }
  }

  /** Kills the commands that are under way: whoever goes on with the container begins anew. They reject with UNAVAILABLE. */
  abandon(): void {
    for (const command of this.#running) {
      this.#abandoned.add(command);
      command.kill(SIGKILL);
    }
  }

  /** Frees what the runtime holds of the container. One that the runtime does not know is fine. */
  async delete(force: boolean): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#run({ args: ["delete", ...(force ? ["--force"] : []), this.#id], bound: BOUNDS.delete });
        return;
      } catch (error) {
        if (!(error instanceof RuntimeError)) throw error;
        if (error.reason.includes("does not exist")) return;
        // Somebody has killed it, for want of memory perhaps, and half of it is done: nobody else would ever do the rest.
        const wasKilled = error.status === 128 + SIGKILL && !error.hung;
        if (!wasKilled || attempt === DELETE_ATTEMPTS) throw error;
      }
    }
  }

  async pause(): Promise<void> {
    await this.#run({ args: ["pause", this.#id] });
  }

  async resume(): Promise<void> {
    await this.#run({ args: ["resume", this.#id] });
  }

  /** The same for a container that has ended: a frozen cgroup cannot be removed. */
  async thaw(): Promise<void> {
    await this.#run({ args: ["resume", this.#id], bound: BOUNDS.thaw });
  }

  /** All pids in the container, as the host sees them. */
  async pids(): Promise<number[]> {
    const list: unknown = JSON.parse(await this.#ask(["ps", "--format", "json", this.#id], BOUNDS.ps));
    return Array.isArray(list) ? list.filter((pid) => typeof pid === "number") : [];
  }

  /** Applies limits; `resources` is the JSON of an OCI LinuxResources. */
  async update(resources: string): Promise<void> {
    const { files, fds } = this.#platform;
    const path = `${this.#bundle}/resources.json`;
    files.replace(path, resources, 0o600);
    const input = fds.openRead(path);
    try {
      files.remove(path);
      await this.#run({ args: ["update", "--resources", "-", this.#id], fds: [input, -1, -1] });
    } finally {
      fds.close(input);
    }
  }

  async #ask(args: readonly string[], bound: number): Promise<string> {
    const [readEnd, writeEnd] = this.#platform.fds.pipe();
    const answer = collect(this.#platform, readEnd, MAX_ANSWER);
    let isOurs = true;
    const passedOn = (): void => {
      if (isOurs) this.#platform.fds.close(writeEnd);
      isOurs = false;
    };
    try {
      await this.#run({ args, bound, fds: [-1, writeEnd, -1] }, passedOn);
      return await answer;
    } finally {
      passedOn();
      answer.cancel();
    }
  }

  async #run(command: Command, spawned: () => void = () => {}): Promise<void> {
    const errors = command.handsOver ? undefined : this.#platform.fds.pipe();
    const log = this.#takeLog();
    const output = errors && collect(this.#platform, errors[0], MAX_OUTPUT);
    try {
      const argv = [...this.#prefix(log), ...command.args];
      const [stdin, stdout, stderr] = command.fds ?? [-1, -1, -1];
      // The command's stdout joins its stderr where nobody asked for it: some runtimes say there what went wrong.
      const end = errors?.[1] ?? stderr;
      let child: Child;
      try {
        const fds = [stdin, stdout === -1 && command.fds === undefined ? end : stdout, end];
        child = this.#spawn(argv, fds, command.outlivesUs === true);
      } finally {
        if (errors !== undefined) this.#platform.fds.close(errors[1]);
        spawned();
      }
      this.#running.add(child);
      void child.exited.then(() => this.#running.delete(child));
      command.running?.(child);
      failpoint(`runc ${command.args[0]}:running`);
      const status = await this.#statusOf(child, argv, command.bound);
      failpoint(`runc ${command.args[0]}:done`);
      if (status !== 0 && this.#abandoned.has(child)) {
        throw new TtrpcError(
          Code.UNAVAILABLE,
          `the shim has ended the runtime's ${command.args[0]} half-way`,
        );
      }
      if (status !== 0) throw new RuntimeError(argv, status, this.#lastError(log) || (output?.soFar() ?? ""));
    } finally {
      output?.cancel();
      this.#logsInUse.delete(log);
    }
  }

  async #statusOf(child: Child, argv: readonly string[], bound: number | undefined): Promise<number> {
    if (bound !== undefined && !(await within(this.#platform.clock, bound, child.exited))) {
      child.kill(SIGKILL);
      // What cannot be killed is not waited for either.
      throw new RuntimeError(argv, 128 + SIGKILL, `${argv.join(" ")} hung for ${bound} ms`, true);
    }
    return (await child.exited).status;
  }

  #spawn(argv: readonly string[], fds: readonly number[], outlivesUs: boolean): Child {
    try {
      return this.#reaper.spawn({
        argv,
        fds,
        env: runtimeEnvironment(this.#platform.self.environment),
        cwd: this.#bundleThere() ? this.#bundle : "/",
        oomScoreAdj: PLAIN_OOM_SCORE,
        surroundings: plainSurroundings(this.#platform),
        ...(!outlivesUs && { deathSignal: SIGKILL }),
      });
    } catch (error) {
      throw explainSpawn(this.#options.binary, error);
    }
  }

  #prefix(log: number): string[] {
    const argv = [this.#options.binary, "--root", this.#root];
    if (this.#bundleThere()) argv.push("--log", this.#logPath(log), "--log-format", "json");
    if (this.#options.systemdCgroup) argv.push("--systemd-cgroup");
    return argv;
  }

  /** Reserves a log file and empties it, so that the logs of thousands of commands never fill /run (containerd issue 8972). */
  #takeLog(): number {
    let log = 0;
    while (this.#logsInUse.has(log)) log++;
    this.#logsInUse.add(log);
    this.#platform.files.remove(this.#logPath(log));
    return log;
  }

  /** A daemon that lost track of a container removes its bundle before the container is gone. */
  #bundleThere(): boolean {
    return this.#platform.files.stat(this.#bundle) !== null;
  }

  #logPath(log: number): string {
    return `${this.#bundle}/log${log === 0 ? "" : `-${log}`}.json`;
  }

  /** The message of the log's last line of level "error"; empty if there is none. */
  #lastError(log: number): string {
    let text: string;
    try {
      text = this.#platform.files.read(this.#logPath(log));
    } catch {
      return "";
    }
    let last = "";
    for (const line of text.split("\n")) {
      const entry = errorOfLine(line);
      if (entry !== undefined) last = entry;
    }
    return last;
  }
}

function setupFlags(setup: ProcessSetup): string[] {
  const flags = ["--pid-file", setup.pidFile];
  if (setup.consoleSocket !== undefined) flags.push("--console-socket", setup.consoleSocket);
  return flags;
}

/** Removes what a runtime has left of a pid: runc writes it beside its place first, and refuses to write over what one that was killed there has left. */
export function removePidFile({ files }: Platform, path: string): void {
  const slash = path.lastIndexOf("/") + 1;
  for (const file of [path, `${path.slice(0, slash)}.${path.slice(slash)}`]) files.remove(file);
}

/** Reads the pid that the runtime wrote. Throws if there is no file, or no pid in it. */
export function readPidFile(platform: Platform, path: string): number {
  const pid = Number(platform.files.read(path, 64));
  if (!Number.isInteger(pid) || pid <= 0) throw new Error(`${path}: not a pid`);
  return pid;
}

/** The JSON that the runtime's `features` command prints; undefined if it cannot be run, or does not know the command. */
export async function readFeatures(
  platform: Platform,
  reaper: Reaper,
  binary: string,
): Promise<string | undefined> {
  const [readEnd, writeEnd] = platform.fds.pipe();
  const output = collect(platform, readEnd, MAX_ANSWER);
  try {
    const child = reaper.spawn({ argv: [binary, "features"], fds: [-1, writeEnd, -1] });
    platform.fds.close(writeEnd);
    const { status } = await child.exited;
    if (status !== 0) return undefined;
    // Passed on as it is: numbers above 2^53 would not survive being written anew.
    const text = (await output).trim();
    JSON.parse(text);
    return text;
  } catch {
    return undefined;
  } finally {
    output.cancel();
  }
}
