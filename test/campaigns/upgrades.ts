// Upgrades in a row under load: the shim's program is replaced again and again while a container prints, a terminal answers, execs come and go and a
// client asks without a pause. Nobody may notice, and no byte may be lost.
import { closeSync, copyFileSync, openSync, readdirSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { FifoReader, makeFifo, OutputFifos } from "../harness/fifo.ts";
import { ShimClient } from "../harness/shim-client.ts";
import type { Campaign, CampaignRun } from "./campaign.ts";

const ID = "upgraded";
/** Every so many upgrades an exec is run whose end is known. */
const EXEC_EVERY = 5;
/** How long the output's reader rests after each chunk, in ms: the pipes are full, so that there is always something to lose. */
const READER_RESTS = 10;

export const upgrades: Campaign = {
  name: "upgrades",
  what: "the shim's program is replaced under a container that prints, a terminal, execs and a client that asks all the time",
  lives: { short: 15, full: 1000 },
  async run(run) {
    const place = await Playground.create();
    try {
      await upgradeUnderLoad(run, place);
      const left = await place.leftovers();
      run.check("what is left of all", left === "", left);
    } finally {
      await place.close();
    }
  },
};

async function upgradeUnderLoad(run: CampaignRun, place: Playground): Promise<void> {
  const programs = [0, 1].map((n) => join(place.directory, `containerd-shim-next-${n}`));
  for (const program of programs) copyFileSync(place.binary, program);
  const shim = await place.shim(ID, { args: ["sh", "-c", "seq 1 1000000000"] });
  const asker = await ShimClient.connect(await place.start(ID));
  const fifos = new OutputFifos(join(place.directory, ID));
  await shim.create(ID, place.bundle(ID), { stdout: fifos.stdout, stderr: fifos.stderr });
  const { stdout } = fifos.read();
  const numbers = new Numbers(stdout);
  await shim.start(ID);
  const typist = await Typist.begin(place, shim);
  const questions = new Questions(asker, run);
  const ended = shim.task.wait({ id: ID, execId: "" });
  const first = (await shim.connect(ID)).shimPid;
  const atFirst = descriptorsOf(first);
  const times: number[] = [];
  for (let n = 0; n < run.lives; n++) {
    const begin = performance.now();
    const { pid } = await shim.upgrade(programs[n % 2] ?? "");
    times.push(performance.now() - begin);
    run.did("upgrades");
    if (n % EXEC_EVERY === 0) await checkExec(run, shim, n);
    await typist.type(run, n);
    const now = (await shim.connect(ID)).shimPid;
    if (!run.check("shims that serve", now === pid, `upgrade ${n}: ${now} for ${pid}`)) break;
  }
  await questions.stop();
  await typist.end();
  const { shimPid } = await shim.connect(ID);
  const isAsAtFirst = await eventually("descriptors", () => descriptorsOf(shimPid) <= atFirst).then(
    () => true,
    () => false,
  );
  run.check("descriptors", isAsAtFirst, () => `${atFirst}, then ${descriptorsOf(shimPid)}`);
  await shim.kill(ID, 9);
  run.check("statuses", (await ended).exitStatus === 137, "not 137");
  await numbers.finish();
  run.did("bytes of output", numbers.bytes);
  run.check("outputs", numbers.wrong === "", numbers.wrong);
  run.did("ms for an upgrade at the median", Math.round(median(times)));
  run.did("ms for a call at worst", Math.round(questions.worst));
  await shim.delete(ID);
  asker.close();
  await place.forget(shim, ID);
}

async function checkExec(run: CampaignRun, shim: ShimClient, n: number): Promise<void> {
  const id = `e${n}`;
  await shim.exec(ID, id, ["sh", "-c", `exit ${n % 100}`]);
  await shim.start(ID, id);
  const { exitStatus } = await shim.wait(ID, id);
  await shim.delete(ID, id);
  run.check("exec statuses", exitStatus === n % 100, `${id}: ${exitStatus}`);
}

function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

function median(times: readonly number[]): number {
  return [...times].sort((one, other) => one - other)[times.length >> 1] ?? 0;
}

/** Reads numbers from 1 on, a line each, and sees whether one is missing, doubled or torn. Slower than they are printed. */
class Numbers {
  bytes = 0;
  wrong = "";
  #next = 1;
  #rest = "";
  #isHurrying = false;
  readonly #reader: FifoReader;

  constructor(reader: FifoReader) {
    this.#reader = reader;
    const { socket } = reader;
    socket.removeAllListeners("data");
    socket.on("data", (chunk: string) => {
      this.#take(chunk);
      if (this.#isHurrying) return;
      socket.pause();
      setTimeout(() => socket.resume(), READER_RESTS);
    });
  }

  async finish(): Promise<void> {
    this.#isHurrying = true;
    this.#reader.socket.resume();
    await this.#reader.ended;
    // What was being printed when it was killed may be cut short.
    const isBeginning = `${this.#next}\n`.startsWith(this.#rest);
    if (!isBeginning) this.wrong ||= `at the end: ${JSON.stringify(this.#rest)} for ${this.#next}`;
  }

  #take(chunk: string): void {
    this.bytes += chunk.length;
    const lines = (this.#rest + chunk).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line !== String(this.#next))
        this.wrong ||= `${JSON.stringify(line.slice(0, 40))} for ${this.#next}`;
      this.#next++;
    }
  }
}

/** Types lines into a terminal, whose shell says them back. */
class Typist {
  readonly #shim: ShimClient;
  readonly #screen: FifoReader;
  readonly #input: number;
  readonly #ended: Promise<{ exitStatus: number }>;

  private constructor(shim: ShimClient, screen: FifoReader, input: number) {
    this.#shim = shim;
    this.#screen = screen;
    this.#input = input;
    this.#ended = shim.task.wait({ id: ID, execId: "typed" });
  }

  static async begin(place: Playground, shim: ShimClient): Promise<Typist> {
    const stdin = makeFifo(join(place.directory, "typed-stdin"));
    const stdout = makeFifo(join(place.directory, "typed-stdout"));
    const held = openSync(stdout, "r+");
    const script = "stty -echo -opost; while read line; do echo got $line; done; exit 4";
    await shim.exec(ID, "typed", ["sh", "-c", script], { stdin, stdout, terminal: true });
    await shim.start(ID, "typed");
    const screen = new FifoReader(stdout);
    closeSync(held);
    return new Typist(shim, screen, openSync(stdin, "w"));
  }

  async type(run: CampaignRun, n: number): Promise<void> {
    writeSync(this.#input, `${n}\n`);
    const text = await this.#screen.until(`the answer to ${n}`, (seen) => seen.endsWith(`got ${n}\n`));
    const wanted = Array.from({ length: n + 1 }, (_, line) => `got ${line}\n`).join("");
    run.check("terminals", text.endsWith(wanted), () => `after ${n}: ${JSON.stringify(text.slice(-60))}`);
  }

  async end(): Promise<void> {
    await this.#shim.kill(ID, 9, "typed");
    closeSync(this.#input);
    await this.#ended;
    await this.#shim.delete(ID, "typed");
    this.#screen.close();
  }
}

/** Asks for the container's state without a pause, and must be answered each time. */
class Questions {
  worst = 0;
  #isOver = false;
  readonly #done: Promise<void>;

  constructor(shim: ShimClient, run: CampaignRun) {
    this.#done = this.#ask(shim, run);
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#done;
  }

  async #ask(shim: ShimClient, run: CampaignRun): Promise<void> {
    while (!this.#isOver) {
      const begin = performance.now();
      const status = await shim.state(ID).then(
        (state) => state.status,
        (error: unknown) => String(error),
      );
      this.worst = Math.max(this.worst, performance.now() - begin);
      if (!run.check("answers", status === 2, `a call across an upgrade: ${status}`)) return;
      await sleep(1);
    }
  }
}
