// Stdout and stderr, as process.stdout and process.stderr: what a slow reader does not take yet waits, and holds up nobody.
import * as host from "holdfast:host";
import { Writable } from "node:stream";
import { bindToNative } from "./go-on.ts";

type Done = (error?: Error | null) => void;

export class Output extends Writable {
  readonly fd: number;
  readonly isTTY: boolean;
  /** What output.ts looks at: files, and devices that are no terminal, have none. */
  readonly _handle: object | undefined;
  readonly #kind: host.Stat["kind"];
  /** An open file of our own, so that whoever has the same terminal or pipe does not get our non-blocking one. */
  #own: number | undefined;
  #isShared = false;

  constructor(fd: number) {
    super({ decodeStrings: true });
    this.fd = fd;
    this.isTTY = host.isTerminal(fd);
    this.#kind = kindOf(fd);
    const isFile = this.#kind === "file" || (this.#kind === "character" && !this.isTTY);
    this._handle = isFile ? undefined : {};
  }

  get columns(): number | undefined {
    return host.terminalSize(this.fd)?.columns;
  }

  get rows(): number | undefined {
    return host.terminalSize(this.fd)?.rows;
  }

  getWindowSize(): [columns: number, rows: number] {
    const { columns, rows } = host.terminalSize(this.fd) ?? { columns: 0, rows: 0 };
    return [columns, rows];
  }

  override _write(chunk: Uint8Array, _encoding: string, done: Done): void {
    bindToNative();
    this.#send(chunk, done);
  }

  /** What is shared is as it was before. */
  giveBack(): void {
    if (this.#isShared) host.setNonBlocking(this.fd, false);
  }

  #send(chunk: Uint8Array, done: Done): void {
    let rest = chunk;
    try {
      while (rest.length > 0) {
        const written = this.#sendNow(rest);
        if (written < 0) {
          const fd = this.#own ?? this.fd;
          host.watch(fd, host.WRITABLE, () => {
            host.unwatch(fd);
            this.#send(rest, done);
          });
          return;
        }
        rest = rest.subarray(written);
      }
    } catch (error) {
      done(error as Error);
      return;
    }
    done();
  }

  /** Bytes that were taken; -1 if none can be now. */
  #sendNow(bytes: Uint8Array): number {
    if (this.#kind === "socket") return host.send(this.fd, bytes, 0);
    if (this._handle === undefined) return host.write(this.fd, bytes);
    this.#own ??= this.#opened();
    return host.write(this.#own, bytes);
  }

  #opened(): number {
    try {
      // A terminal is waited for, as by Node: what is said last is said before the end.
      const waits = this.isTTY ? 0 : host.O_NONBLOCK;
      return host.open(`/proc/self/fd/${this.fd}`, host.O_WRONLY | waits);
    } catch {
      // Another user's. It is non-blocking for all then, as with Node.
      host.setNonBlocking(this.fd, true);
      this.#isShared = true;
      return this.fd;
    }
  }
}

function kindOf(fd: number): host.Stat["kind"] {
  try {
    return host.statFd(fd).kind;
  } catch {
    // Closed: the first write says so.
    return "file";
  }
}
