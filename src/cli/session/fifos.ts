// A process's stdin, stdout and stderr as fifos in a directory of our own, as containerd's clients hand them to shims. Nothing here ever waits
// for the other side: both ends of an output are opened first, and the writing one given up once the shim has its own.
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
} from "node:fs";
import { Socket } from "node:net";
import { dirname, join } from "node:path";
import { isSystemError } from "../../platform/platform.ts";
import { Problem } from "../text/problem.ts";
import { FifoWriter } from "./fifo-writer.ts";
import { makeFifos } from "./make-fifos.ts";

/** Where fifos live while their process does: HOLDFAST_FIFOS names another directory. */
function fifoDirectory(): string {
  return process.env.HOLDFAST_FIFOS ?? "/run/holdfast/cli";
}

/** What a request of the task service says of stdio; empty for none. */
export interface StdioPaths {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

export interface Streams {
  readonly stdin: boolean;
  readonly terminal: boolean;
}

export class Fifos {
  readonly paths: StdioPaths;
  /** Bytes of the process; undefined where it has no such stream. */
  readonly stdout: Socket | undefined;
  readonly stderr: Socket | undefined;
  #stdin: FifoWriter | undefined;
  /** Ends that keep the fifos alive until the shim has opened them. */
  #held: number[] = [];

  private constructor(paths: StdioPaths, hold: boolean) {
    this.paths = paths;
    try {
      this.stdout = this.#read(paths.stdout, hold);
      this.stderr = this.#read(paths.stderr, hold);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Makes the fifos that a new process needs. A terminal has one output. */
  static async create({ stdin, terminal }: Streams): Promise<Fifos> {
    const parent = fifoDirectory();
    mkdirSync(parent, { recursive: true, mode: 0o700 });
    sweep(parent);
    const directory = mkdtempSync(join(parent, "io-"));
    const path = (name: string, wanted: boolean): string => (wanted ? join(directory, name) : "");
    const paths = {
      stdin: path("stdin", stdin),
      stdout: path("stdout", true),
      stderr: path("stderr", !terminal),
      terminal,
    };
    const fifos = [paths.stdin, paths.stdout, paths.stderr].filter((each) => each !== "");
    await makeFifos(fifos);
    return new Fifos(paths, true);
  }

  /** Opens those of a process that runs. Throws a Problem if its stdio is not in fifos. */
  static attach(paths: StdioPaths): Fifos {
    for (const path of [paths.stdin, paths.stdout, paths.stderr]) {
      if (path !== "" && statSync(path, { throwIfNoEntry: false })?.isFIFO() !== true) {
        throw new Problem(`cannot attach: its stdio is not a fifo that is there: ${path}`);
      }
    }
    return new Fifos(paths, false);
  }

  /** The shim writes: from here on the end of the process's output is the end of ours. */
  taken(): void {
    for (const fd of this.#held.splice(0)) closeSync(fd);
  }

  /** What we write to the process; undefined if it takes no input. To be asked for once the process runs. */
  get stdin(): FifoWriter | undefined {
    if (this.paths.stdin === "") return undefined;
    this.#stdin ??= new FifoWriter(this.paths.stdin);
    return this.#stdin;
  }

  /** Lets go; the process is not disturbed, and somebody may attach later. */
  close(): void {
    this.taken();
    for (const stream of [this.stdout, this.stderr, this.#stdin]) stream?.destroy();
  }

  /** Closes and removes those that nobody was given. */
  discard(): void {
    this.close();
    Fifos.remove(this.paths);
  }

  /** Removes the fifos of a process that has ended, if we made them, whichever run of the CLI did. */
  static remove(paths: StdioPaths): void {
    for (const path of [paths.stdin, paths.stdout, paths.stderr]) {
      if (dirname(dirname(path)) === fifoDirectory()) rmSync(dirname(path), { recursive: true, force: true });
    }
  }

  #read(path: string, hold: boolean): Socket | undefined {
    if (path === "") return undefined;
    const { O_RDONLY, O_WRONLY, O_NONBLOCK } = constants;
    const fd = openSync(path, O_RDONLY | O_NONBLOCK);
    if (hold) this.#held.push(openSync(path, O_WRONLY | O_NONBLOCK));
    return new Socket({ fd, readable: true, writable: false });
  }
}

/** Fifos that are younger may be about to be opened, in ms. */
const YOUNG = 60_000;

/** Removes what clients that were killed have left: a shim holds the fifos of its processes open for reading too, so what nobody reads is nobody's. */
function sweep(parent: string): void {
  for (const name of readdirSync(parent)) {
    const directory = join(parent, name);
    try {
      if (Date.now() - statSync(directory).mtimeMs < YOUNG) continue;
      if (readdirSync(directory).some((fifo) => hasReader(join(directory, fifo)))) continue;
      rmSync(directory, { recursive: true, force: true });
    } catch {
      // Somebody else has swept it, or it is none of ours.
    }
  }
}

function hasReader(fifo: string): boolean {
  try {
    closeSync(openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK));
    return true;
  } catch (error) {
    return !isSystemError(error, "ENXIO");
  }
}
