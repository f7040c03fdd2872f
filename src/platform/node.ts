// Clock, Net and a listener over Node. The shim has quickjs.ts.

import { chmodSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import type { ByteStream, Clock, Listener, Net, PeerCredentials, StreamHandler, Timer } from "./platform.ts";

/** Longest delay that setTimeout keeps; it turns a longer one into 1 ms. */
const MAX_DELAY_MS = 0x7fffffff;

/** Undefined until it is needed: Node loads what measures time when it is asked first. */
let steadyStartMs: number | undefined;

/** Date's time, with the parts of a millisecond that the steady clock has: what was made after something else has a later time. */
function realtimeMs(): number {
  const wall = Date.now();
  steadyStartMs ??= performance.timeOrigin;
  const fine = steadyStartMs + performance.now();
  if (fine >= wall && fine < wall + 1) return fine;
  // The clock was set, or the two have drifted apart.
  const right = fine < wall ? wall : wall + 0.999;
  steadyStartMs += right - fine;
  return right;
}

export const nodeClock: Clock = {
  monotonicMs: () => performance.now(),
  realtimeNs: () => BigInt(Math.floor(realtimeMs() * 1000)) * 1000n,
  after(ms: number, fire: () => void): Timer {
    let timeout: NodeJS.Timeout;
    const arm = (left: number) => {
      timeout =
        left > MAX_DELAY_MS
          ? setTimeout(() => arm(left - MAX_DELAY_MS), MAX_DELAY_MS)
          : setTimeout(fire, left);
    };
    arm(ms);
    return { cancel: () => clearTimeout(timeout) };
  },
};

export const nodeNet: Net = {
  connect(path: string): Promise<ByteStream> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ path });
      const fail = (error: Error) => reject(Object.assign(error, { path }));
      socket.once("error", fail);
      socket.once("connect", () => {
        socket.off("error", fail);
        resolve(new NodeStream(socket));
      });
    });
  },
};

/** Serves a unix socket at `path`, which must not exist, with the given permission bits. Rejects with a SystemError. Closing it removes the file. */
export function listen(path: string, mode: number, accept: (stream: ByteStream) => void): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const server = createServer({ pauseOnConnect: true }, (socket) => accept(new NodeStream(socket)));
    server.once("error", (error) => reject(Object.assign(error, { path })));
    // The file is born with no more than the owner's rights, so that nobody slips in before chmod.
    const umask = process.umask(0o177);
    try {
      server.listen(path);
    } finally {
      process.umask(umask);
    }
    server.once("listening", () => {
      chmodSync(path, mode);
      resolve({ close: () => void server.close() });
    });
  });
}

class NodeStream implements ByteStream {
  /** Node has no way to ask for SO_PEERCRED. */
  readonly peer: PeerCredentials | undefined = undefined;
  readonly #socket: Socket;
  #error: Error | undefined;
  #handler: StreamHandler | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.pause();
    socket.on("error", (error) => {
      this.#error = error;
    });
  }

  get queued(): number {
    return this.#socket.writableLength;
  }

  start(handler: StreamHandler): void {
    this.#handler = handler;
    const socket = this.#socket;
    // A plain Uint8Array: a Buffer's slice() is a view, and code that also runs in the shim expects a copy.
    socket.on("data", (chunk: Buffer) =>
      handler.data(new Uint8Array(chunk.buffer as ArrayBuffer, chunk.byteOffset, chunk.length)),
    );
    // Without waiting for the peer to read what is queued: it has gone, or behaves as if it had.
    socket.on("end", () => socket.destroy());
    if (socket.destroyed) queueMicrotask(() => handler.closed(this.#error));
    else socket.on("close", () => handler.closed(this.#error));
    socket.resume();
  }

  write(bytes: Uint8Array): void {
    if (this.#socket.destroyed) return;
    this.#socket.write(bytes, () => {
      if (this.#socket.writableLength === 0 && !this.#socket.destroyed) this.#handler?.drained();
    });
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#socket.destroy();
  }
}
