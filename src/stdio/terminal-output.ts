// The output of a terminal. To a file it goes through a pipe of ours: what comes from a terminal cannot be spliced into a file, and what is in our memory is lost
// when we are killed; what is in the pipe is not. Used by console.ts.
import type { OutputPolicy } from "../api/output-policy.ts";
import { Output, type Sink } from "./output.ts";
import type { OverflowFigures } from "./overflow.ts";
import type { OutputRecord } from "./records.ts";
import type { StdioContext } from "./stdio.ts";

/** How long nothing must have come from whoever holds the terminal when its process has ended, in ms. */
const QUIET = 100;

export class TerminalOutput {
  readonly #uri: string;
  readonly #output: Output;
  /** From the pipe to the file, where it goes to one. */
  readonly #toFile: Output | undefined;

  private constructor(uri: string, output: Output, toFile: Output | undefined) {
    this.#uri = uri;
    this.#output = output;
    this.#toFile = toFile;
  }

  /** Throws, with nothing left open, if the sink cannot be opened. */
  static open(context: StdioContext, uri: string, sink: Sink, policy: OutputPolicy): TerminalOutput {
    if (sink.kind !== "file") return new TerminalOutput(uri, new Output(context, sink, policy), undefined);
    const toFile = new Output(context, sink, policy);
    let output: Output | undefined;
    try {
      const [fd, writeEnd] = context.platform.fds.pipe();
      output = new Output(context, pipeSink(context, writeEnd), { kind: "block" });
      toFile.start({ fd, isTerminal: false, quietMs: 0 });
      return new TerminalOutput(uri, output, toFile);
    } catch (error) {
      output?.close();
      toFile.close();
      throw error;
    }
  }

  /** Goes on with what an earlier shim has left. */
  static resume(
    context: StdioContext,
    uri: string,
    sinkOf: (kept: OutputRecord) => Sink,
    policy: OutputPolicy,
    [kept, rest]: readonly OutputRecord[],
  ): TerminalOutput {
    if (kept === undefined) throw new Error("the state names no output of a terminal");
    const toFile = rest && new Output(context, sinkOf(rest), policy, rest);
    const sink = rest === undefined || kept.sink < 0 ? sinkOf(kept) : pipeSink(context, kept.sink);
    const output = new Output(context, sink, rest === undefined ? policy : { kind: "block" }, kept);
    output.resume(kept.source < 0 ? undefined : { fd: kept.source, isTerminal: true, quietMs: QUIET });
    if (rest !== undefined)
      toFile?.resume(rest.source < 0 ? undefined : { fd: rest.source, isTerminal: false, quietMs: 0 });
    return new TerminalOutput(uri, output, toFile);
  }

  /** Begins to move bytes from the terminal: the descriptor is its own from now on. */
  start(fd: number): void {
    this.#output.start({ fd, isTerminal: true, quietMs: QUIET });
  }

  /** The terminal's first. */
  records(): OutputRecord[] {
    const outputs = this.#toFile === undefined ? [this.#output] : [this.#output, this.#toFile];
    return outputs.map((output) => output.record(this.#uri));
  }

  processEnded(): void {
    this.#output.processEnded();
    this.#output.finishWhenQuiet();
  }

  /** Settles when all has been handed over. */
  async done(): Promise<void> {
    await this.#output.done;
    await this.#toFile?.done;
  }

  progress(): bigint | undefined {
    return this.#output.progress();
  }

  figures(): OverflowFigures | undefined {
    return this.#output.figures();
  }

  close(): void {
    this.#output.close();
    this.#toFile?.close();
  }
}

/** We have its other end ourselves: it never breaks. */
function pipeSink({ platform }: StdioContext, fd: number): Sink {
  return { kind: "pipe", fd, close: () => platform.fds.close(fd), broken() {} };
}
