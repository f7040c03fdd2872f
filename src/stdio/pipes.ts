// Stdio without a terminal: a pipe for each stream that the client asked for.

import type { OutputPolicy } from "../api/output-policy.ts";
import { isSystemError } from "../platform/platform.ts";
import { Input } from "./input.ts";
import { Logger } from "./logger.ts";
import { Output, type Sink } from "./output.ts";
import { type OverflowFigures, sumFigures } from "./overflow.ts";
import type { LoggerRecord, OutputRecord, PipeIdentity, StdioRecord } from "./records.ts";
import type { PipeOwner, ProcessStdioConfig, Stdio, StdioContext } from "./stdio.ts";
import { openTarget, parseTarget } from "./target.ts";

/** How long nothing must have come from whoever outlives the process and holds its output, in ms: a second's pause is no end yet. */
const QUIET = 1_500;
/** Most of a failed runtime's words that is kept, in bytes. */
const MAX_WORDS = 64 << 10;

/** Where one output goes, and the read end of its pipe; -1 once it is the output's. */
interface Stream {
  readonly uri: string;
  readonly output: Output;
  readEnd: number;
  pipe: PipeIdentity | undefined;
}

export class Pipes implements Stdio {
  readonly childFds: readonly [number, number, number];
  readonly consoleSocket = undefined;
  readonly #context: StdioContext;
  readonly #owner: PipeOwner;
  readonly #mayBeAttachedLater: boolean;
  /** Whether there is something to go on with. */
  #isAttached = false;
  readonly #policy: OutputPolicy;
  /** The child's ends, ours until the runtime has passed them on. */
  #childEnds: number[] = [];
  #stdinPipe = -1;
  #inputPipe: PipeIdentity | undefined;
  #input: Input | undefined;
  /** Stdout's before stderr's, where there are both. */
  readonly #streams: Stream[] = [];
  /** By URI: stdout and stderr may have one together. */
  readonly #loggers = new Map<string, Logger>();

  /** With `kept`, what an earlier shim has left. */
  constructor(context: StdioContext, config: ProcessStdioConfig, owner: PipeOwner, kept?: StdioRecord) {
    this.#context = context;
    this.#owner = owner;
    this.#mayBeAttachedLater = config.mayBeAttachedLater;
    this.#policy = config.policy;
    if (kept !== undefined) {
      this.childFds = [-1, -1, -1];
      this.#resume(config, kept);
      return;
    }
    try {
      this.childFds = [
        this.#openInput(config.stdin),
        this.#openOutput(config.stdout, "stdout"),
        this.#openOutput(config.stderr, "stderr"),
      ];
      for (const logger of this.#loggers.values()) logger.closeUnused();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  async ready(): Promise<void> {
    await Promise.all([...this.#loggers.values()].map((logger) => logger.ready));
  }

  async attached(): Promise<void> {
    this.#closeChildEnds();
    for (const stream of this.#streams) {
      const fd = stream.readEnd;
      stream.readEnd = -1;
      stream.output.start({ fd, isTerminal: false, quietMs: QUIET });
    }
    this.#input?.start(this.#stdinPipe, () => this.#closeStdinPipe());
    if (!this.#mayBeAttachedLater) this.#input?.endIfNeverOpened(this.#stdinPipe);
    this.#isAttached = true;
  }

  record(): StdioRecord | undefined {
    if (!this.#isAttached) return undefined;
    return {
      input: this.#input?.record(),
      sink: this.#stdinPipe,
      pipe: this.#inputPipe,
      outputs: this.#streams.map(({ uri, output, pipe }) => ({ ...output.record(uri), pipe })),
      loggers: [...this.#loggers.values()].map((logger) => logger.record()),
    };
  }

  #resume(config: ProcessStdioConfig, { input, sink, pipe, outputs, loggers }: StdioRecord): void {
    const { platform, changed } = this.#context;
    for (const kept of loggers) this.#resumeLogger(kept);
    const names = config.stdout === "" ? (["stderr"] as const) : (["stdout", "stderr"] as const);
    for (const [index, kept] of outputs.entries()) {
      const to = this.#keptSink(kept, names[index] ?? "stderr");
      const fd = to.kind === "pipe" ? to.fd : kept.sink;
      const output = new Output(this.#context, to, this.#policy, { ...kept, sink: fd });
      this.#streams.push({ uri: kept.uri, output, readEnd: -1, pipe: kept.pipe });
      output.resume(kept.source < 0 ? undefined : { fd: kept.source, isTerminal: false, quietMs: QUIET });
    }
    for (const logger of this.#loggers.values()) logger.closeUnused();
    this.#stdinPipe = sink;
    this.#inputPipe = pipe;
    if (input !== undefined) {
      this.#input = new Input(platform, config.stdin, changed, input);
      if (input.source >= 0) this.#input.start(sink, () => this.#closeStdinPipe());
      if (input.mayBeUnopened) this.#input.endIfNeverOpened(sink);
    }
    this.#isAttached = true;
  }

  /** Without it the output goes nowhere. */
  #resumeLogger(kept: LoggerRecord): void {
    const { platform, log, container } = this.#context;
    try {
      const target = parseTarget(platform, kept.uri);
      if (target.kind !== "logger") return;
      const logger = new Logger(this.#context, target, kept.pid === 0 ? undefined : kept);
      this.#loggers.set(kept.uri, logger);
    } catch (error) {
      log.error("the logging binary cannot be started again", { id: container, error });
    }
  }

  /** What an output goes to by its URI: nothing is looked up any more, it is open, or its logger was started anew. */
  #keptSink({ uri, sink, broken }: OutputRecord, name: "stdout" | "stderr"): Sink {
    if (broken) return { kind: "none" };
    const logger = this.#loggers.get(uri);
    if (logger !== undefined) return sink < 0 ? logger.sink(name) : logger.sink("stdout", sink);
    return openTarget(this.#context.platform, uri, sink);
  }

  runtimeWords(): string {
    const { fds, text } = this.#context.platform;
    for (const { readEnd } of this.#streams.toReversed()) {
      const bytes = readEnd < 0 ? null : fds.read(readEnd, MAX_WORDS);
      if (bytes !== null && bytes.length > 0) return text.decode(bytes).trim();
    }
    return "";
  }

  closeStdin(): void {
    this.#input?.closeInput();
  }

  resize(): void {}

  processEnded(): void {
    for (const { output } of this.#streams) output.processEnded();
  }

  async drain(): Promise<void> {
    const outputs = this.#streams.map(({ output }) => output);
    const progress = (): string => outputs.map((output) => output.progress()).join(" ");
    for (const output of outputs) output.finishWhenQuiet();
    for (const logger of this.#loggers.values()) logger.finish(progress);
    await Promise.all(outputs.map((output) => output.done));
    await Promise.all([...this.#loggers.values()].map((logger) => logger.ended));
  }

  figures(): OverflowFigures | undefined {
    return sumFigures(this.#streams.map(({ output }) => output.figures()));
  }

  close(): void {
    const { fds } = this.#context.platform;
    this.#isAttached = false;
    this.#closeChildEnds();
    this.#input?.close();
    this.#closeStdinPipe();
    for (const stream of this.#streams) {
      if (stream.readEnd >= 0) fds.close(stream.readEnd);
      stream.readEnd = -1;
      stream.output.close();
    }
    for (const logger of this.#loggers.values()) logger.close();
  }

  #openInput(path: string): number {
    if (path === "") return -1;
    const [readEnd, writeEnd] = this.#pipe();
    this.#childEnds.push(readEnd);
    this.#stdinPipe = writeEnd;
    this.#inputPipe = this.#identityOf(writeEnd);
    this.#input = new Input(this.#context.platform, path, this.#context.changed);
    return readEnd;
  }

  #openOutput(uri: string, name: "stdout" | "stderr"): number {
    if (uri === "") return -1;
    const output = new Output(this.#context, this.#sink(uri, name), this.#policy);
    const stream: Stream = { uri, output, readEnd: -1, pipe: undefined };
    this.#streams.push(stream);
    const [readEnd, writeEnd] = this.#pipe();
    stream.readEnd = readEnd;
    stream.pipe = this.#identityOf(readEnd);
    this.#childEnds.push(writeEnd);
    return this.#mayBeAttachedLater ? this.#withReader(writeEnd) : writeEnd;
  }

  /**
   * The child's end for reading too: while nobody else reads, it waits instead of dying of SIGPIPE. Not of an exec, whose children may outlive its Delete and
   * must not wait for ever then.
   */
  #withReader(writeEnd: number): number {
    if (!this.#context.isAdoptable) return writeEnd;
    const both = this.#context.platform.fds.openBoth(`/proc/self/fd/${writeEnd}`);
    this.#childEnds.push(both);
    return both;
  }

  #identityOf(end: number): PipeIdentity | undefined {
    if (!this.#context.isAdoptable) return undefined;
    const { device, inode } = this.#context.platform.fds.stat(end);
    return { device, inode };
  }

  #sink(uri: string, name: "stdout" | "stderr"): Sink {
    const target = parseTarget(this.#context.platform, uri);
    if (target.kind !== "logger") return target;
    const logger = this.#loggers.get(uri) ?? new Logger(this.#context, target);
    this.#loggers.set(uri, logger);
    return logger.sink(name);
  }

  #pipe(): [number, number] {
    const { fds } = this.#context.platform;
    const ends = fds.pipe();
    try {
      for (const end of ends) fds.setOwner(end, this.#owner.uid, this.#owner.gid);
    } catch (error) {
      // Without privilege nobody can be given a pipe. Only who asked for it is refused.
      if (!this.#owner.isAskedFor && (isSystemError(error, "EPERM") || isSystemError(error, "EINVAL")))
        return ends;
      for (const end of ends) fds.close(end);
      throw error;
    }
    return ends;
  }

  #closeChildEnds(): void {
    for (const fd of this.#childEnds) this.#context.platform.fds.close(fd);
    this.#childEnds = [];
  }

  #closeStdinPipe(): void {
    const fd = this.#stdinPipe;
    if (fd < 0) return;
    this.#stdinPipe = -1;
    this.#context.changed();
    this.#context.platform.fds.close(fd);
  }
}
