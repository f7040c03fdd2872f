// A unix socket of the native host as a ByteStream.
import * as host from "holdfast:host";
import { beforeEffect } from "./effects.ts";
import { failpoint } from "./failpoint.ts";
import type { ByteStream, PeerCredentials, StreamHandler } from "./platform.ts";

const READ_CHUNK = 16 << 10;
/** Most that is looked at without being taken, in bytes: less than what a socket holds in one piece. */
const MOST_SEEN = 80 << 10;

/** A connected unix socket. Bytes that the kernel does not take are queued, in order, and sent when it has room. */
export class SocketStream implements ByteStream {
  readonly peer: PeerCredentials;
  queued = 0;
  readonly fd: number;
  readonly #backlog: Uint8Array[] = [];
  /** Bytes of backlog[0] that have been sent. */
  #sent = 0;
  #reading = true;
  #open = true;
  /** What the loop watches it for. */
  #watched = 0;
  readonly #onReady = (ready: number): void => this.#ready(ready);
  #window = READ_CHUNK;
  #handler: StreamHandler | undefined;

  constructor(fd: number) {
    this.fd = fd;
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
    host.unwatch(this.fd);
    this.#handler?.closed(error);
    // The number may be another's from here on: nobody may know it as this one's any more.
    beforeEffect();
    host.close(this.fd);
  }

  #rewatch(): void {
    if (!this.#open || this.#handler === undefined) return;
    const events = (this.#reading ? host.READABLE : 0) | (this.queued > 0 ? host.WRITABLE : 0);
    if (events === this.#watched) return;
    if (events === 0) host.unwatch(this.fd);
    // What is only looked at stays: it is told of once.
    else host.watch(this.fd, events | (this.#handler.take ? host.EDGE : 0), this.#onReady);
    this.#watched = events;
  }

  #ready(events: number): void {
    try {
      if (events & host.WRITABLE) {
        this.#flush();
        if (this.#open && this.queued === 0) this.#handler?.drained();
      }
      if (!this.#open || !this.#reading || !(events & (host.READABLE | host.HANGUP))) return;
      if (this.#handler?.take === undefined) this.#receive();
      // The rest of what has begun will not come any more.
      else if (!this.#lookOn() && events & host.HANGUP) this.#end();
    } catch (error) {
      this.#end(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #receive(): void {
    const chunk = host.read(this.fd, READ_CHUNK);
    if (chunk === null) return;
    if (chunk.length === 0) this.#end();
    else this.#handler?.data(chunk);
  }

  /** Shows what is there until nothing more is taken. False if the beginning of something is left. */
  #lookOn(): boolean {
    while (this.#open && this.#reading) {
      const seen = host.peek(this.fd, this.#window);
      if (seen === null) return true;
      if (seen.length === 0) {
        this.#end();
        return true;
      }
      const taken = this.#handler?.take?.(seen) ?? 0;
      if (!this.#open) return true;
      if (taken > 0) {
        beforeEffect();
        failpoint("request:recorded");
        host.read(this.fd, taken);
        failpoint("request:taken");
        this.#window = READ_CHUNK;
      } else if (this.#reading) {
        if (seen.length < this.#window || this.#window === MOST_SEEN) return false;
        this.#window = MOST_SEEN;
      }
    }
    return true;
  }

  #flush(): void {
    beforeEffect();
    try {
      for (let first = this.#backlog[0]; first !== undefined; first = this.#backlog[0]) {
        const count = host.send(this.fd, first, this.#sent);
        if (count < 0) break;
        failpoint("answer:sent");
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
