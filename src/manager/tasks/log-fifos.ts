// The fifo "log" in each bundle: what shims write there goes into our own log.
import { constants, mkdirSync, openSync, readdirSync, renameSync, rmSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import type { Logger } from "pino";
import { runProgram } from "../program.ts";

/** Node cannot make a fifo, and starting mkfifo for each container would cost more than all else here: they are made in dozens, ahead. */
const BATCH = 32;
const LOW_WATER = 8;
const MKFIFO_TIMEOUT_MS = 10_000;
const MAX_LINE = 4096;

export class LogFifos {
  readonly #directory: string;
  readonly #ready: string[] = [];
  #making: Promise<void> | undefined;
  #made = 0;

  /** Keeps its supply in `directory`, which it makes; what an earlier daemon left in there goes away. */
  constructor(directory: string) {
    this.#directory = directory;
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  /** Makes a fifo at `path`. */
  async place(path: string): Promise<void> {
    while (this.#ready.length === 0) await this.refill();
    const fifo = this.#ready.pop();
    if (fifo !== undefined) renameSync(fifo, path);
    if (this.#ready.length < LOW_WATER) this.refill().catch(() => {});
  }

  refill(): Promise<void> {
    this.#making ??= this.#make().finally(() => {
      this.#making = undefined;
    });
    return this.#making;
  }

  async #make(): Promise<void> {
    const paths = Array.from({ length: BATCH }, () => join(this.#directory, String(this.#made++)));
    await runProgram(["mkfifo", "--mode=0700", ...paths], { timeoutMs: MKFIFO_TIMEOUT_MS });
    this.#ready.push(...paths);
  }

  close(): void {
    for (const name of readdirSync(this.#directory)) rmSync(join(this.#directory, name), { force: true });
  }
}

/** Copies the lines of a shim's log fifo to `log` until it is closed. A fifo that is missing is a shim without a log. */
export function readShimLog(path: string, log: Logger): { close(): void } {
  let socket: Socket;
  try {
    // Opened for writing too, so that it does not end between two writers.
    const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    socket = new Socket({ fd, readable: true, writable: false });
  } catch (error) {
    log.debug({ error: error instanceof Error ? error.message : String(error) }, "no log of this shim");
    return { close: () => {} };
  }
  let rest = "";
  socket.setEncoding("utf8");
  socket.on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = (lines.pop() ?? "").slice(0, MAX_LINE);
    for (const line of lines) if (line !== "") log.info({ shim: line.slice(0, MAX_LINE) }, "shim");
  });
  socket.on("error", (error) => log.debug({ error: error.message }, "cannot read the shim's log"));
  return { close: () => void socket.destroy() };
}
