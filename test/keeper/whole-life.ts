// One container's life from the start of its shim to its shutdown, by a client that asks again what a death of the shim has cut and knows how everything
// must end: statuses, output, order of events. Used by the tests and campaigns that kill the shim at a named place.
import assert from "node:assert/strict";
import { closeSync, constants, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";
import type { Playground } from "../harness/direct-shim.ts";
import { FifoReader, makeFifo } from "../harness/fifo.ts";
import { openFiles } from "../harness/processes.ts";
import { ShimClient } from "../harness/shim-client.ts";

const STATUS = 42;
const EXEC_STATUS = 7;
const TERMINAL_STATUS = 9;
/** Lines before the container has its input, and as many after. */
const LINES = 6000;
const EXEC_LINES = 3000;
/** How often a call is made that a death has cut. */
const TRIES = 5;

export interface LifeReport {
  /** How many shims have died before the one that was there when all was over but the shutdown. */
  readonly deaths: number;
  /** How many calls a death has cut. */
  readonly cut: number;
}

/** Lives one whole life with the environment `env` for the shim. Rejects with what was wrong. */
export async function liveWhole(
  place: Playground,
  id: string,
  env: Record<string, string>,
): Promise<LifeReport> {
  const life = new WholeLife(place, id);
  try {
    return await life.live(env);
  } finally {
    life.close();
  }
}

/** The numbers of two runs of seq, a line each. */
function lines(count: number): string {
  return Array.from({ length: count }, (_, n) => `${n + 1}\n`).join("");
}

/** What a process has open of containers: pipes, and files of the directory that are no log of a shim's. */
function containersDescriptors(pid: number, directory: string): string[] {
  const isOf = (path: string): boolean =>
    path.startsWith("pipe:") ||
    path.includes("ptmx") ||
    (path.startsWith(directory) && !path.endsWith("/log"));
  return openFiles(pid).filter(isOf);
}

class WholeLife {
  readonly #place: Playground;
  readonly #id: string;
  readonly #readers: FifoReader[] = [];
  readonly #files: string[] = [];
  readonly #held: number[] = [];
  #shim: ShimClient | undefined;
  #cut = 0;

  constructor(place: Playground, id: string) {
    this.#place = place;
    this.#id = id;
  }

  get #client(): ShimClient {
    assert.ok(this.#shim !== undefined);
    return this.#shim;
  }

  async live(env: Record<string, string>): Promise<LifeReport> {
    const place = this.#place;
    const id = this.#id;
    place.makeBundle(id, {
      args: ["sh", "-c", `seq 1 ${LINES}; read line; seq ${LINES + 1} ${2 * LINES}; exit ${STATUS}`],
    });
    this.#shim = await ShimClient.connect(await place.start(id, { env }));
    const [stdin, stdout] = [this.#fifo("stdin"), this.#fifo("stdout")];
    await this.#ask("create", (shim) => shim.create(id, place.bundle(id), { stdin, stdout, stderr: stdout }));
    const output = this.#read(stdout);
    const ended = this.#ask("wait", (shim) => shim.wait(id));
    // Whoever waits for it sees how it ended; nobody does where another step has failed.
    ended.catch(() => {});
    await this.#start("");
    await this.#exec("plain", EXEC_STATUS, false);
    await this.#exec("screen", TERMINAL_STATUS, true);
    const input = openSync(stdin, "w");
    writeSync(input, "go on\n");
    closeSync(input);
    assert.equal((await ended).exitStatus, STATUS, "the status that Wait tells");
    const { exitStatus } = await this.#ask("delete", (shim) => shim.delete(id));
    assert.equal(exitStatus, STATUS, "the status that Delete tells");
    await output.ended;
    assert.equal(output.text, lines(2 * LINES), "the output");
    await place.events.arrived("/tasks/delete", id);
    const { pid, deaths = 0 } = await this.#ask("dump", (shim) => shim.dump());
    assert.deepEqual(
      containersDescriptors(pid, place.directory),
      [],
      "descriptors of a container that is gone",
    );
    this.#compareEvents();
    assert.equal(this.#client.connection.closed, false, "the connection is the first one still");
    await place.forget(this.#client, id);
    return { deaths, cut: this.#cut };
  }

  close(): void {
    this.#shim?.close();
    for (const reader of this.#readers) reader.close();
    for (const fd of this.#held) closeSync(fd);
    for (const file of this.#files) rmSync(file, { force: true });
  }

  async #exec(execId: string, status: number, terminal: boolean): Promise<void> {
    const id = this.#id;
    const stdout = this.#fifo(execId);
    const args = ["sh", "-c", `stty -opost 2>/dev/null; seq 1 ${EXEC_LINES}; exit ${status}`];
    const streams = { stdout, stderr: terminal ? "" : stdout, terminal };
    await this.#ask(`exec ${execId}`, (shim) => shim.exec(id, execId, args, streams));
    await this.#start(execId);
    const output = this.#read(stdout);
    const { exitStatus } = await this.#ask(`wait ${execId}`, (shim) => shim.wait(id, execId));
    assert.equal(exitStatus, status, `the status of ${execId}`);
    await this.#ask(`delete ${execId}`, (shim) => shim.delete(id, execId));
    await output.ended;
    assert.equal(output.text, lines(EXEC_LINES), `the output of ${execId}`);
  }

  #start(execId: string): Promise<number> {
    return this.#ask(`start ${execId}`, (shim) => shim.start(this.#id, execId));
  }

  /** Calls again when the next shim says that the last one's death has undone it. No other refusal is allowed, and the connection must not end. */
  async #ask<T>(what: string, call: (shim: ShimClient) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await call(this.#client);
      } catch (error) {
        const wasCut = error instanceof TtrpcError && error.code === Code.UNAVAILABLE;
        if (!wasCut || this.#client.connection.closed || attempt === TRIES)
          throw new Error(`${what}: ${error instanceof Error ? error.message : error}`, { cause: error });
        this.#cut++;
        await sleep(10);
      }
    }
  }

  /** Each once and in order, but for one that was sent and not acknowledged: that one comes twice in a row. */
  #compareEvents(): void {
    const execs = ["plain", "screen"].flatMap((exec) => [
      `exec-added ${exec}`,
      `exec-started ${exec}`,
      `exit ${exec}`,
    ]);
    const seen = this.#place.events.order(this.#id);
    const distinct = seen.filter((event, index) => event !== seen[index - 1]);
    assert.deepEqual(distinct, ["create", "start", ...execs, "exit", "delete"], "the events");
    assert.ok(seen.length <= distinct.length + 1, `doubled events: ${seen}`);
  }

  #fifo(name: string): string {
    const path = makeFifo(join(this.#place.directory, `${this.#id}-${name}`));
    this.#files.push(path);
    if (name !== "stdin") this.#held.push(openSync(path, constants.O_RDWR | constants.O_NONBLOCK));
    return path;
  }

  /** To be called when the shim has it: from then on the shim alone decides when it ends. */
  #read(path: string): FifoReader {
    const reader = new FifoReader(path);
    this.#readers.push(reader);
    const held = this.#held.shift();
    if (held !== undefined) closeSync(held);
    return reader;
  }
}
