// One container of a storm from its record to its removal, by a client that asks again whenever the daemon has died, and that knows its true end.
import { closeSync, constants, existsSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SPEC_PROCESS } from "../../../src/api/any.ts";
import { Status } from "../../../src/api/generated/process.ts";
import { createContainer } from "../../../src/cli/containers/record.ts";
import { Code } from "../../../src/ttrpc/status.ts";
import { FifoReader, makeFifos } from "../../harness/fifo.ts";
import { ociSpec } from "../../harness/rootfs.ts";
import { json } from "../../harness/shim-client.ts";
import { type ExecPlan, execScriptOf, type LifePlan, numbers, outputOf, scriptOf } from "./plan.ts";
import { codeOf, type Storm } from "./storm.ts";

/** What is told of an end that nobody has seen. */
const UNKNOWN_STATUS = 255;
const NO_STDIO = { stdin: "", stdout: "", stderr: "", terminal: false };
/** How often a step is tried that a runtime's death, or the daemon's, has cut. */
const TRIES = 6;
const SIGKILL = 9;
/** How long the rest of an output may take once its container is deleted, in ms. */
const OUTPUT_TIMEOUT = 30_000;

/** The task is gone before its client has deleted it: its shim was killed, and its daemon has cleaned up. */
class Gone extends Error {}

/** containerd will not have the container. */
class Stuck extends Error {}

export class Life {
  readonly #storm: Storm;
  readonly #plan: LifePlan;
  #output: FifoReader | undefined;
  #held: number | undefined;
  /** The fifo in which the container waits for its go. */
  #go = -1;
  /** Whether it was ended by force, because a step could not be done after the runtime was killed in it. */
  #isCut = false;

  constructor(storm: Storm, plan: LifePlan) {
    this.#storm = storm;
    this.#plan = plan;
  }

  async live(): Promise<void> {
    const { run, daemon } = this.#storm;
    const { id } = this.#plan;
    daemon.ctr.ids.add(id);
    run.did("lives");
    this.#makeFifos();
    this.#storm.plant(id, this.#plan.failpoint);
    let status: number | undefined;
    try {
      await this.#begin();
      for (const exec of this.#plan.execs) await this.#exec(exec);
      status = await this.#end();
    } catch (error) {
      this.#readOutput();
      if (error instanceof Stuck) run.did("ids that containerd does not let go of");
      else if (!(error instanceof Gone)) {
        // So that what is left at the end is what was lost, and not what was given up.
        await this.#kill();
        await this.#remove().catch(() => {});
        throw error;
      } else
        run.check(
          "tasks that vanished",
          this.#mayBeLost,
          () =>
            `${id}: gone ${error.message}, and no shim of it was killed for good\n${this.#storm.storyOf(id)}`,
        );
    }
    await this.#remove();
    if (status !== undefined) await this.#compare(status);
    if (this.#held !== undefined) closeSync(this.#held);
    this.#output?.close();
    closeSync(this.#go);
    rmSync(join(daemon.rootfs, "tmp", `waits-${id}`), { force: true });
    for (const fifo of this.#fifos) rmSync(fifo, { force: true });
  }

  get #goPath(): string {
    return join(this.#storm.daemon.rootfs, "tmp", `go-${this.#plan.id}`);
  }

  get #fifos(): string[] {
    const { execs } = this.#plan;
    return [this.#outputPath, this.#goPath, ...execs.map((exec) => this.#execPath(exec.id))];
  }

  #execPath(execId: string): string {
    return join(this.#storm.daemon.directory, "fifo", `${this.#plan.id}-${execId}`);
  }

  #makeFifos(): void {
    makeFifos(this.#fifos);
    this.#go = openSync(this.#goPath, constants.O_RDWR | constants.O_NONBLOCK);
  }

  get #shimWasHit(): boolean {
    return this.#storm.wasHit(this.#plan.id, "shim");
  }

  /** Whether its daemon may have lost it: nobody has started its shim again. */
  get #mayBeLost(): boolean {
    return this.#shimWasHit && !this.#storm.isKept(this.#plan.id);
  }

  /** A create that a death of the daemon has cut is undone by the next one, also when it was there for a moment. */
  async #begin(): Promise<void> {
    const { deaths, daemon } = this.#storm;
    for (let attempt = 1; ; attempt++) {
      const before = this.#storm.deaths;
      try {
        await this.#create();
        await this.#start();
        return;
      } catch (error) {
        const wasCut = error instanceof Gone && !this.#mayBeLost && deaths !== this.#storm.deaths;
        if (!wasCut) throw error;
        this.#storm.run.did("creates that were undone");
        // However often another death cuts it, only what is undone without one counts.
        if (daemon.kind === "holdfastd" && before !== this.#storm.deaths) attempt = 0;
        // containerd keeps the half of a bundle that its death has left, and refuses the id until it is started once more.
        if (attempt === TRIES && daemon.kind === "containerd") throw new Stuck();
        if (attempt === TRIES) throw error;
        await sleep(100 * attempt);
      }
    }
  }

  async #create(): Promise<void> {
    const { daemon, logger } = this.#storm;
    const { id, stdio } = this.#plan;
    const cgroupsPath = `/${daemon.namespace}/${id}`;
    const args = ["sh", "-c", scriptOf(this.#plan)];
    const terminal = stdio === "terminal" || stdio === "terminal to a file";
    const spec = ociSpec({ rootfs: daemon.rootfs, cgroupsPath, args, terminal });
    await this.#step("put on record", async (client) => {
      const record = { id, runtime: daemon.runtime, labels: {}, spec: { ...spec }, image: undefined };
      await createContainer(client, record).catch(unless(Code.ALREADY_EXISTS));
    });
    const stdout =
      stdio === "logger"
        ? `binary://${logger}`
        : stdio === "file" || stdio === "terminal to a file"
          ? `file://${this.#storm.logOf(id)}`
          : this.#openOutput();
    await this.#step("create", async (client) => {
      // Both to one: the Go shim wants a place for each.
      const streams = { stdout, stderr: stdio === "fifo" || stdio === "file" ? stdout : "" };
      const request = { ...NO_STDIO, ...streams, containerId: id, rootfs: [], terminal, runtimePath: "" };
      await client.tasks.create(request).catch(unless(Code.ALREADY_EXISTS));
    });
  }

  /** Once it runs nothing is opened any more: the shim alone decides when the stream ends. */
  #readOutput(): void {
    if (this.#held === undefined) return;
    this.#output = new FifoReader(this.#outputPath);
    closeSync(this.#held);
    this.#held = undefined;
  }

  get #outputPath(): string {
    return join(this.#storm.daemon.directory, "fifo", `${this.#plan.id}-out`);
  }

  async #start(): Promise<void> {
    await this.#step("start", async (client) => {
      const status = await this.#status();
      if (status === Status.CREATED) await client.tasks.start({ containerId: this.#plan.id, execId: "" });
    });
    this.#readOutput();
  }

  /** One that a death has cut in two counts for nothing; any other must have its output and its status. */
  async #exec(plan: ExecPlan): Promise<void> {
    const { run, client, deaths } = this.#storm;
    const { id: containerId } = this.#plan;
    const path = this.#execPath(plan.id);
    const held = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    const named = { containerId, execId: plan.id };
    try {
      const process = {
        args: ["sh", "-c", execScriptOf(plan)],
        cwd: "/",
        env: ["PATH=/bin"],
        terminal: plan.terminal,
      };
      const spec = json(SPEC_PROCESS, { ...process, user: { uid: 0, gid: 0 } });
      const streams = { stdout: path, stderr: plan.terminal ? "" : path };
      await client.tasks.exec({ ...NO_STDIO, ...named, ...streams, terminal: plan.terminal, spec });
      await client.tasks.start(named);
      const output = new FifoReader(path);
      closeSync(held);
      const { exitStatus } = await client.tasks.wait(named);
      await client.tasks.deleteProcess(named);
      await within(OUTPUT_TIMEOUT, output.ended, `${containerId} ${plan.id}: its output has no end`);
      output.close();
      run.did("execs");
      if (this.#wasDisturbed(deaths)) return;
      run.check(
        "exec statuses",
        exitStatus === plan.status,
        `${containerId} ${plan.id}: ${exitStatus} for ${plan.status}`,
      );
      const wanted = numbers(1, plan.lines);
      run.check("exec outputs", output.text === wanted, () =>
        difference(`${containerId} ${plan.id}`, output.text, wanted),
      );
    } catch (error) {
      run.did("execs cut");
      // Who was answered by nobody may know of the daemon's death before we do.
      if (codeOf(error) !== Code.UNAVAILABLE && !this.#wasDisturbed(deaths)) throw error;
    }
  }

  #wasDisturbed(deaths: number): boolean {
    const { id } = this.#plan;
    return deaths !== this.#storm.deaths || this.#shimWasHit || this.#storm.wasHit(id, "runc");
  }

  async #end(): Promise<number> {
    const { daemon, run } = this.#storm;
    const { id, isKilled } = this.#plan;
    if (isKilled && !this.#isCut) {
      const waits = join(daemon.rootfs, "tmp", `waits-${id}`);
      while (!existsSync(waits)) {
        if ((await this.#status()) === Status.STOPPED) break;
        await sleep(20);
      }
      await this.#step("kill", async (client) => {
        await client.tasks
          .kill({ containerId: id, execId: "", signal: SIGKILL, all: false })
          .catch(unless(Code.NOT_FOUND));
      });
    } else writeSync(this.#go, "go\n");
    const { exitStatus } = await this.#ask("wait", (client) =>
      client.tasks.wait({ containerId: id, execId: "" }),
    );
    run.did("ends");
    return exitStatus;
  }

  async #compare(status: number): Promise<void> {
    const { run } = this.#storm;
    const { id, isKilled, stdio } = this.#plan;
    if (this.#output !== undefined)
      await within(OUTPUT_TIMEOUT, this.#output.ended, `${id}: its output has no end`);
    const log = this.#storm.logOf(id);
    const text = this.#output?.text ?? (existsSync(log) ? readFileSync(log, "latin1") : "");
    const wanted = isKilled ? 128 + SIGKILL : this.#plan.status;
    // A runc that is killed at its start lets go of a process that is not the program yet, which may say so.
    const saysSo = text.startsWith("write exec fifo ");
    const neverRan = this.#storm.wasHit(id, "runc") && (text === "" || saysSo);
    const allowed = [
      wanted,
      ...(this.#isCut || this.#mayBeLost ? [128 + SIGKILL] : []),
      // Under holdfastd it lives on without a shim, and may end before the next one is there: nobody knows its status then.
      ...(this.#mayBeLost && this.#storm.daemon.kind === "holdfastd" ? [UNKNOWN_STATUS] : []),
      // What the container's first process says when its runtime died while it waited to become the program.
      ...(neverRan ? [1] : []),
    ];
    run.check("exit statuses", allowed.includes(status), `${id}: ${status} for ${allowed.join(" or ")}`);
    const whole = outputOf(this.#plan);
    const loggerWasHit = stdio === "logger" && this.#storm.wasHit(id, "logger");
    // Of what was cut short there is a beginning.
    const isPart = this.#isCut || this.#mayBeLost || loggerWasHit || (neverRan && status !== wanted);
    const holds = neverRan && saysSo ? status === 1 : isPart ? whole.startsWith(text) : text === whole;
    run.check("outputs", holds, () => `${difference(id, text, whole)}\n${this.#storm.storyOf(id)}`);
  }

  async #remove(): Promise<void> {
    const { daemon, run } = this.#storm;
    const { id } = this.#plan;
    await this.#tolerant("delete", (client) =>
      client.tasks.delete({ containerId: id }).catch(unless(Code.NOT_FOUND)),
    );
    if (daemon.kind === "holdfastd") {
      const { steps } = await this.#ask("history", (client) => client.history.get({ containerId: id }));
      const exits = steps.filter(({ what, execId }) => what === "/tasks/exit" && execId === "").length;
      run.check(
        "exits in the history",
        exits === 1 || (exits === 0 && this.#mayBeLost) || this.#isCut,
        `${id}: ${exits}`,
      );
    }
    await this.#tolerant("forget", (client) =>
      client.containers.delete({ id }).catch(unless(Code.NOT_FOUND)),
    );
  }

  #openOutput(): string {
    const path = this.#outputPath;
    this.#held ??= openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    return path;
  }

  /** Rejects with Gone if there is no task. */
  async #status(): Promise<Status> {
    const { process } = await this.#ask("get", (client) =>
      client.tasks.get({ containerId: this.#plan.id, execId: "" }),
    );
    return process?.status ?? Status.UNKNOWN;
  }

  /** A question about the task. */
  async #ask<T>(what: string, call: (client: Storm["client"]) => Promise<T>): Promise<T> {
    try {
      return await this.#storm.steadily(`${this.#plan.id}: ${what}`, call);
    } catch (error) {
      if (codeOf(error) === Code.NOT_FOUND) throw new Gone(`at ${what}`);
      // What containerd says to who waits while the shim dies. Asked again, it knows more.
      const isDying = this.#shimWasHit && error instanceof Error && error.message.includes("ttrpc: closed");
      if (!isDying) throw error;
      await sleep(200);
      return this.#ask(what, call);
    }
  }

  /** Does what may be cut in two by a death, several times. What a killed runtime has spoilt for good is ended by force. */
  async #step(what: string, call: (client: Storm["client"]) => Promise<void>): Promise<void> {
    if (this.#isCut) return;
    const { run, deaths } = this.#storm;
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#storm.steadily(`${this.#plan.id}: ${what}`, call);
        return;
      } catch (error) {
        if (error instanceof Gone) throw error;
        if (codeOf(error) === Code.NOT_FOUND && this.#shimWasHit) throw new Gone(`at ${what}`);
        if (!this.#wasDisturbed(deaths)) throw error;
        if (attempt < TRIES) continue;
        run.did(`lives cut at ${what}`);
        this.#isCut = true;
        await this.#kill();
        return;
      }
    }
  }

  async #kill(): Promise<void> {
    const request = { containerId: this.#plan.id, execId: "", signal: SIGKILL, all: true };
    await this.#storm.steadily("kill", (client) => client.tasks.kill(request)).catch(() => {});
  }

  /** A removal: a runtime that is killed in it fails it, and the next one finds the rest. */
  async #tolerant(what: string, call: (client: Storm["client"]) => Promise<unknown>): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#storm.steadily(`${this.#plan.id}: ${what}`, call);
        return;
      } catch (error) {
        if (attempt === TRIES) throw error;
        await this.#kill();
        await sleep(100);
      }
    }
  }
}

function unless(code: Code): (error: unknown) => void {
  return (error) => {
    if (codeOf(error) !== code) throw error;
  };
}

async function within(ms: number, work: Promise<unknown>, otherwise: string): Promise<void> {
  const late = sleep(ms, "late", { ref: false });
  if ((await Promise.race([work, late])) === "late") throw new Error(otherwise);
}

function difference(whose: string, text: string, wanted: string): string {
  let at = 0;
  while (at < text.length && text[at] === wanted[at]) at++;
  const piece = (of: string): string => JSON.stringify(of.slice(at, at + 30));
  return `${whose}: ${text.length} bytes for ${wanted.length}, at ${at}: ${piece(text)} for ${piece(wanted)}`;
}
