// A container with a shim, whose streams the test holds itself. Used by every test in this directory.
import { mkdtempSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { BundleSpec, Playground } from "../harness/direct-shim.ts";
import { FifoReader, FifoWriter, makeFifo } from "../harness/fifo.ts";
import { type CreateOptions, type ExecOptions, ShimClient } from "../harness/shim-client.ts";

export const SLEEPS: BundleSpec = { args: ["sleep", "100000"] };

/** A container that runs, and execs in it. */
export class Running {
  readonly place: Playground;
  readonly shim: ShimClient;
  readonly id: string;

  private constructor(place: Playground, shim: ShimClient, id: string) {
    this.place = place;
    this.shim = shim;
    this.id = id;
  }

  static async start(
    place: Playground,
    id: string,
    spec: BundleSpec = SLEEPS,
    options: CreateOptions = {},
  ): Promise<Running> {
    place.makeBundle(id, spec);
    return Running.ofBundle(place, id, options);
  }

  /** A container of a bundle that is there. */
  static async ofBundle(place: Playground, id: string, options: CreateOptions = {}): Promise<Running> {
    const shim = await ShimClient.connect(await place.start(id));
    await shim.create(id, place.bundle(id), options);
    await shim.start(id);
    return new Running(place, shim, id);
  }

  /** Adds an exec and starts it. */
  async exec(execId: string, args: readonly string[], options: ExecOptions = {}): Promise<number> {
    await this.shim.exec(this.id, execId, args, options);
    return this.shim.start(this.id, execId);
  }

  async shimPid(): Promise<number> {
    return (await this.shim.connect(this.id)).shimPid;
  }

  async end(): Promise<void> {
    await this.place.endContainer(this.shim, this.id);
    await this.place.forget(this.shim, this.id);
  }
}

/** A fresh fifo for one stream. */
export function fifoIn(place: Playground, name: string): string {
  return makeFifo(join(mkdtempSync(join(place.directory, "fifo-")), name));
}

/** Output that is read from now on: to be called when somebody writes to the fifo, or will. */
export function reading(path: string): FifoReader {
  return new FifoReader(path);
}

export { FifoWriter };

/** Processor time that a process has used, in hundredths of a second. */
export function cpuTicks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}
