// The client's ends of a container's stdio fifos, for tests that play the client themselves.
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import { patience } from "./eventually.ts";

/** Makes a named pipe and returns its path. */
export function makeFifo(path: string): string {
  makeFifos([path]);
  return path;
}

/** Several at the price of one. */
export function makeFifos(paths: readonly string[]): void {
  execFileSync("mkfifo", ["-m", "600", ...paths]);
}

/** Reads a fifo as text. Open it when somebody holds its other end: before that it is at its end at once. */
export class FifoReader {
  /** Resolves at the end of the stream: nobody holds the other end any more. */
  readonly ended: Promise<void>;
  readonly socket: Socket;
  #text = "";
  #watchers = new Set<() => void>();

  constructor(path: string) {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    this.socket = new Socket({ fd, readable: true, writable: false });
    this.socket.setEncoding("latin1");
    this.ended = new Promise((done) => this.socket.once("end", done));
    this.socket.on("data", (chunk: string) => {
      this.#text += chunk;
      for (const watcher of [...this.#watchers]) watcher();
    });
  }

  get text(): string {
    return this.#text;
  }

  /** Resolves once what was read satisfies `enough`. */
  until(
    what: string,
    enough: (text: string) => boolean,
    timeoutMs: number = patience(60_000),
  ): Promise<string> {
    return new Promise((done, fail) => {
      const timer = setTimeout(() => {
        this.#watchers.delete(look);
        fail(
          new Error(
            `waited ${timeoutMs} ms for ${what}; read ${this.#text.length} bytes: ${this.#text.slice(-200)}`,
          ),
        );
      }, timeoutMs);
      const look = (): void => {
        if (!enough(this.#text)) return;
        clearTimeout(timer);
        this.#watchers.delete(look);
        done(this.#text);
      };
      this.#watchers.add(look);
      look();
    });
  }

  close(): void {
    this.socket.destroy();
  }
}

/** Output fifos that are held open, so that a Create that waits for readers goes on; `read` opens them for good when it has. */
export class OutputFifos {
  readonly stdout: string;
  readonly stderr: string;
  readonly #held: number[];

  constructor(prefix: string) {
    this.stdout = makeFifo(`${prefix}-stdout`);
    this.stderr = makeFifo(`${prefix}-stderr`);
    this.#held = [this.stdout, this.stderr].map((path) =>
      openSync(path, constants.O_RDWR | constants.O_NONBLOCK),
    );
  }

  /** Call it after Create: from then on the shim alone decides when the streams end. */
  read(): { readonly stdout: FifoReader; readonly stderr: FifoReader } {
    const readers = { stdout: new FifoReader(this.stdout), stderr: new FifoReader(this.stderr) };
    for (const fd of this.#held) closeSync(fd);
    return readers;
  }
}

/** Writes to a fifo whose other end is held by somebody. What is written at once must fit into the pipe. */
export class FifoWriter {
  readonly #fd: number;

  constructor(path: string) {
    this.#fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  }

  write(text: string): void {
    if (writeSync(this.#fd, text) !== Buffer.byteLength(text)) throw new Error("the pipe is full");
  }

  close(): void {
    closeSync(this.#fd);
  }
}
