// Stdio without a terminal: a pipe for each stream that the client asked for.
import type { Platform } from "../platform/platform.ts";
import { Input } from "./input.ts";
import { Output, parseTarget } from "./output.ts";
import type { PipeOwner, Stdio, StdioConfig } from "./stdio.ts";

export class Pipes implements Stdio {
  readonly childFds: readonly [number, number, number];
  readonly consoleSocket = undefined;
  readonly drained: Promise<void>;
  readonly #platform: Platform;
  readonly #owner: PipeOwner;
  /** The child's ends, ours until the runtime has passed them on. */
  #childEnds: number[] = [];
  #stdinPipe = -1;
  #input: Input | undefined;
  readonly #outputs: Output[] = [];

  constructor(platform: Platform, config: StdioConfig, owner: PipeOwner) {
    this.#platform = platform;
    this.#owner = owner;
    try {
      this.childFds = [
        this.#openInput(config.stdin),
        this.#openOutput(config.stdout),
        this.#openOutput(config.stderr),
      ];
    } catch (error) {
      this.close();
      throw error;
    }
    this.drained = Promise.all(this.#outputs.map((output) => output.drained)).then(() => {});
  }

  async attached(): Promise<void> {
    this.#closeChildEnds();
  }

  closeStdin(): void {
    this.#input?.closeInput();
  }

  resize(): void {}

  close(): void {
    this.#closeChildEnds();
    this.#input?.close();
    this.#closeStdinPipe();
    for (const output of this.#outputs) output.close();
  }

  #openInput(path: string): number {
    if (path === "") return -1;
    const [readEnd, writeEnd] = this.#pipe();
    this.#childEnds.push(readEnd);
    this.#stdinPipe = writeEnd;
    this.#input = new Input(this.#platform, path, writeEnd, () => this.#closeStdinPipe());
    return readEnd;
  }

  #openOutput(uri: string): number {
    if (uri === "") return -1;
    const target = parseTarget(this.#platform, uri);
    const [readEnd, writeEnd] = this.#pipe();
    this.#childEnds.push(writeEnd);
    try {
      this.#outputs.push(new Output(this.#platform, readEnd, target));
    } catch (error) {
      this.#platform.fds.close(readEnd);
      throw error;
    }
    return writeEnd;
  }

  #pipe(): [number, number] {
    const ends = this.#platform.fds.pipe();
    for (const end of ends) this.#platform.fds.setOwner(end, this.#owner.uid, this.#owner.gid);
    return ends;
  }

  #closeChildEnds(): void {
    for (const fd of this.#childEnds) this.#platform.fds.close(fd);
    this.#childEnds = [];
  }

  #closeStdinPipe(): void {
    if (this.#stdinPipe >= 0) this.#platform.fds.close(this.#stdinPipe);
    this.#stdinPipe = -1;
  }
}
