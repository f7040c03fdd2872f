// A unix socket of the native host as a ByteStream. Used by quickjs.ts.
import * as host from "holdfast:host";
import type { ByteStream, PeerCredentials, StreamHandler } from "./platform.ts";

const READ_CHUNK = 16 << 10;

/** A connected unix socket. Bytes that the kernel does not take are queued, in order, and sent when it has room. */
export class SocketStream implements ByteStream {
  readonly peer: PeerCredentials;
  queued = 0;
  readonly #fd: number;
  readonly #backlog: Uint8Array[] = [];
  /** Bytes of backlog[0] that have been sent. */
  #sent = 0;
  #reading = true;
  #open = true;
  #handler: StreamHandler | undefined;

  constructor(fd: number) {
    this.#fd = fd;
    this.peer = host.peerCredentials(fd);
  }

  start(handler: StreamHandler): void {
    this.#handler = handler;
    this.#rewatch();
  }

  write(bytes: Uint8Array): void {
    if (!this.#open || bytes.length === 0) return;
    this.#backlog.push(bytes);
    this.queued += bytes.length;
    if (this.#backlog.length === 1) this.#flush();
  }

  pause(): void {
    this.#reading = false;
    this.#rewatch();
  }

  resume(): void {
    this.#reading = true;
    this.#rewatch();
  }

  close(): void {
    this.#end();
  }

  #end(error?: Error): void {
    if (!this.#open) return;
    this.#open = false;
    this.#backlog.length = 0;
    this.queued = 0;
    host.unwatch(this.#fd);
    host.close(this.#fd);
    this.#handler?.closed(error);
  }

  #rewatch(): void {
    if (!this.#open || this.#handler === undefined) return;
    const events = (this.#reading ? host.READABLE : 0) | (this.queued > 0 ? host.WRITABLE : 0);
    if (events === 0) host.unwatch(this.#fd);
    else host.watch(this.#fd, events, (ready) => this.#ready(ready));
  }

  #ready(events: number): void {
    try {
      if (events & host.WRITABLE) {
        this.#flush();
        if (this.#open && this.queued === 0) this.#handler?.drained();
      }
      if (this.#open && this.#reading && events & (host.READABLE | host.HANGUP)) this.#receive();
    } catch (error) {
      this.#end(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #receive(): void {
    const chunk = host.read(this.#fd, READ_CHUNK);
    if (chunk === null) return;
    if (chunk.length === 0) this.#end();
    else this.#handler?.data(chunk);
  }

  #flush(): void {
    try {
      for (let first = this.#backlog[0]; first !== undefined; first = this.#backlog[0]) {
        const count = host.send(this.#fd, first, this.#sent);
        if (count < 0) break;
        this.#sent += count;
        this.queued -= count;
        if (this.#sent < first.length) continue;
        this.#backlog.shift();
        this.#sent = 0;
      }
    } catch (error) {
      this.#end(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    this.#rewatch();
  }
}
