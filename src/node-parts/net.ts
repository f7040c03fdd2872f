// node:net as far as the command line uses it: connections to unix sockets, and fifos that are open already.
import * as host from "holdfast:host";
import { Duplex } from "node:stream";
import { goOnInNode } from "./go-on.ts";

const CHUNK = 64 * 1024;

interface SocketOptions {
  readonly fd: number;
  readonly readable?: boolean;
  readonly writable?: boolean;
}

type Done = (error?: Error | null) => void;

/** A stream over a descriptor that can be polled, which it owns. */
export class Socket extends Duplex {
  readonly #fd: number;
  readonly #onReady = (): void => this.#ready();
  /** What the host watches for. */
  #watched = 0;
  #isReading = false;
  /** What could not be written yet. */
  #unwritten: { readonly bytes: Uint8Array; readonly done: Done } | undefined;

  constructor({ fd, readable = true, writable = true }: SocketOptions) {
    // A side that is not there has ended: what has, is closed.
    super({ allowHalfOpen: false, ...{ readable, writable } });
    this.#fd = fd;
    host.setNonBlocking(fd, true);
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  /** Ends it once all is written. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once("finish", () => this.destroy());
  }

  override _read(): void {
    this.#isReading = true;
    this.#watch();
  }

  override _write(chunk: Uint8Array, _encoding: string, done: Done): void {
    this.#unwritten = { bytes: chunk, done };
    this.#writeOn();
    this.#watch();
  }

  override _writev(chunks: { chunk: Uint8Array; encoding: string }[], done: Done): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), "", done);
  }

  override _final(done: Done): void {
    done();
  }

  override _destroy(error: Error | null, done: Done): void {
    host.unwatch(this.#fd);
    host.close(this.#fd);
    done(error);
  }

  #watch(): void {
    if (this.destroyed) return;
    const events =
      (this.#isReading ? host.READABLE : 0) | (this.#unwritten === undefined ? 0 : host.WRITABLE);
    if (events === this.#watched) return;
    this.#watched = events;
    if (events === 0) host.unwatch(this.#fd);
    else host.watch(this.#fd, events, this.#onReady);
  }

  #ready(): void {
    if (this.#unwritten !== undefined) this.#writeOn();
    if (this.#isReading && !this.destroyed) this.#readOn();
    this.#watch();
  }

  #readOn(): void {
    try {
      const bytes = host.read(this.#fd, CHUNK);
      if (bytes === null) return;
      this.#isReading = this.push(bytes.length === 0 ? null : view(bytes));
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  #writeOn(): void {
    const { bytes, done } = this.#unwritten ?? {};
    if (bytes === undefined || done === undefined) return;
    try {
      const written = host.write(this.#fd, bytes);
      if (written === bytes.length) {
        this.#unwritten = undefined;
        done();
      } else if (written > 0) this.#unwritten = { bytes: bytes.subarray(written), done };
    } catch (error) {
      this.#unwritten = undefined;
      done(error as Error);
    }
  }
}

function view(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length);
}

/** The handshake does not wait: it is connected, or has failed, by the next turn. */
export function createConnection({ path }: { readonly path: string }): Socket | Duplex {
  try {
    const socket = new Socket({ fd: host.connect(path) });
    process.nextTick(() => socket.emit("connect"));
    return socket;
  } catch (error) {
    const failed = new Duplex({ allowHalfOpen: false });
    process.nextTick(() => failed.destroy(error as Error));
    return failed;
  }
}

export function createServer(): never {
  return goOnInNode("a server");
}
