// The writing end of a process's stdin. A shim may answer Start before it has opened the fifo (containerd's does: it leaves that to a
// goroutine), and what is written to a fifo that nobody reads is lost, so each byte waits here until there is a reader.
import { constants, openSync } from "node:fs";
import { Socket } from "node:net";
import { Writable } from "node:stream";
import { setTimeout } from "node:timers/promises";

/** How long to wait before a reader is looked for again, in ms: at first, and at most. */
const LOOK_FIRST = 1;
const LOOK_LATER = 100;

/** "finish" says that all is written and the fifo closed. Fails with EPIPE when the reader goes away, or with what opening `path` fails with. */
export class FifoWriter extends Writable {
  readonly #given = new AbortController();
  readonly #socket: Promise<Socket>;

  constructor(path: string) {
    super();
    this.#socket = this.#open(path);
    this.#socket.catch((error) => this.destroy(error));
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#socket.then((socket) => socket.write(chunk, done), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.then((socket) => {
      socket.once("close", () => done());
      socket.end(() => socket.destroy());
    }, done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#given.abort();
    this.#socket.then(
      (socket) => socket.destroy(),
      () => {},
    );
    done(error);
  }

  async #open(path: string): Promise<Socket> {
    for (let wait = LOOK_FIRST; ; wait = Math.min(wait * 2, LOOK_LATER)) {
      const fd = openWriter(path);
      if (fd !== undefined) {
        const socket = new Socket({ fd, readable: false, writable: true });
        return socket.on("error", (error) => this.destroy(error));
      }
      await setTimeout(wait, undefined, { signal: this.#given.signal });
    }
  }
}

/** Undefined while nobody reads the fifo: it then refuses a writer that will not wait. */
function openWriter(path: string): number | undefined {
  try {
    return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENXIO") return undefined;
    throw error;
  }
}
