// Where the daemon's log goes: stderr, without ever waiting for whoever reads it. A reader that stands still would stop the daemon, and so every client,
// at the next line. Made by cmd/daemon.
import { constants, fstatSync, openSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import { isatty } from "node:tty";
import { isSystemError } from "../platform/platform.ts";

/** Bytes of lines that wait for the reader, beyond which lines are dropped: a minute or more of a busy daemon. */
const ROOM = 1 << 20;
/** How often it is looked whether the reader goes on, in ms. */
const RETRY = 100;
/** Bytes that are written at once. */
const CHUNK = 64 << 10;

/** Bytes that were written, none if the reader stands still; or nobody is there to read them, as on a disk that is full. */
type Sent = number | "gone";

/** What pino writes to. Lines wait in memory, in bounds; `lost` is told how many did not fit as soon as lines go out again. */
export class LogOutput {
  readonly #target: Target;
  readonly #lost: (lines: number) => void;
  #waiting: Buffer[] = [];
  #bytes = 0;
  #dropped = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(fd: number, lost: (lines: number) => void) {
    this.#target = new Target(fd);
    this.#lost = lost;
  }

  write(line: string): void {
    const bytes = Buffer.from(line);
    if (this.#bytes + bytes.length > ROOM) this.#dropped++;
    else this.#keep(bytes);
    if (this.#timer === undefined) this.flush();
  }

  #keep(bytes: Buffer): void {
    this.#waiting.push(bytes);
    this.#bytes += bytes.length;
  }

  /** Writes what can be written now. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    let isRead = false;
    while (this.#waiting.length > 0) {
      const chunk = this.#takeChunk();
      const sent = this.#target.write(chunk);
      isRead = sent !== "gone";
      if (sent === "gone") this.#dropped += linesOf(chunk);
      else if (sent < chunk.length) {
        this.#putBack(chunk.subarray(sent));
        this.#timer = setTimeout(() => this.flush(), RETRY).unref();
        return;
      }
    }
    if (isRead) this.#sayLost();
  }

  #sayLost(): void {
    const lines = this.#dropped;
    this.#dropped = 0;
    if (lines > 0) this.#lost(lines);
  }

  #takeChunk(): Buffer {
    let bytes = 0;
    let count = 0;
    for (const line of this.#waiting) {
      if (count > 0 && bytes + line.length > CHUNK) break;
      bytes += line.length;
      count++;
    }
    this.#bytes -= bytes;
    return Buffer.concat(this.#waiting.splice(0, count));
  }

  #putBack(rest: Buffer): void {
    this.#waiting.unshift(rest);
    this.#bytes += rest.length;
  }
}

const linesOf = (chunk: Buffer): number => chunk.toString("latin1").split("\n").length - 1;

/** A descriptor that is written to without waiting. */
class Target {
  readonly #fd: number;
  readonly #isReopened: boolean;
  /** A second description of what stands behind the descriptor: the first one's settings are those of all who have inherited it. */
  #own: number | undefined;

  constructor(fd: number) {
    this.#fd = fd;
    const kind = fstatSync(fd);
    // A file or another device never waits for anybody.
    this.#isReopened = kind.isFIFO() || isatty(fd);
    if (kind.isSocket()) waitNoMore(fd);
  }

  write(bytes: Buffer): Sent {
    try {
      return writeSync(this.#open(), bytes);
    } catch (error) {
      return isSystemError(error, "EAGAIN") ? 0 : "gone";
    }
  }

  #open(): number {
    if (!this.#isReopened) return this.#fd;
    if (this.#own !== undefined) return this.#own;
    try {
      const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants;
      this.#own = openSync(`/proc/self/fd/${this.#fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY);
    } catch (error) {
      // A fifo that nobody reads for now.
      if (isSystemError(error, "ENXIO")) throw error;
      // Somebody else's, or no /proc: better a log that may wait than none.
      this.#own = this.#fd;
    }
    return this.#own;
  }
}

/** A socket cannot be opened again: its own description has to be one that does not wait, which Node makes of what it takes over. */
function waitNoMore(fd: number): void {
  try {
    new Socket({ fd, readable: false, writable: true }).unref().on("error", () => {});
  } catch {
    // Of a kind that Node does not know: it is written to as it is.
  }
}
