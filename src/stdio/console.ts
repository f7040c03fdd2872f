// Stdio with a terminal: the runtime makes a pty in the container and passes its master over the console socket.
import type { Platform, Reception } from "../platform/platform.ts";
import { Input } from "./input.ts";
import { Logger } from "./logger.ts";
import type { Sink } from "./output.ts";
import type { OverflowFigures } from "./overflow.ts";
import type { OutputRecord, StdioRecord } from "./records.ts";
import type { ProcessStdioConfig, Stdio, StdioContext } from "./stdio.ts";
import { openTarget, parseTarget } from "./target.ts";
import { TerminalOutput } from "./terminal-output.ts";

/** How long the runtime may take to pass the terminal once its command has ended, in ms. */
const CONSOLE_TIMEOUT = 10_000;
/** What a terminal takes for "no more input" (VEOF) in its usual mode: the first only ends a line that has begun. */
const END_OF_INPUT = new Uint8Array([4, 4]);
/** How often it is tried again while the terminal is full, in ms. */
const FULL_RETRY = 100;

let sockets = 0;

export class Terminal implements Stdio {
  readonly childFds: readonly [number, number, number] = [-1, -1, -1];
  readonly consoleSocket: string;
  readonly #context: StdioContext;
  readonly #socketFile: string;
  readonly #output: TerminalOutput;
  #logger: Logger | undefined;
  #input: Input | undefined;
  #listener = -1;
  #reception: Reception | undefined;
  #master = -1;
  /** The other side, held while the process lives: whoever closes the terminal and opens it again finds it as it was, and what was typed meanwhile. */
  #held = -1;
  #isClosed = false;
  #size: [columns: number, rows: number] | undefined;

  /** With `kept`, what an earlier shim has left. */
  constructor(context: StdioContext, config: ProcessStdioConfig, kept?: StdioRecord) {
    const { platform, bundle, changed } = context;
    this.#context = context;
    this.consoleSocket = `console-${platform.self.pid()}-${sockets++}.sock`;
    this.#socketFile = `${bundle}/${this.consoleSocket}`;
    if (kept !== undefined) {
      this.#output = this.#resume(config, kept);
      return;
    }
    this.#output = TerminalOutput.open(context, config.stdout, this.#sink(config.stdout), config.policy);
    try {
      if (config.stdin !== "") this.#input = new Input(platform, config.stdin, changed);
      this.#listener = listenInside(platform, bundle, this.consoleSocket);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  async ready(): Promise<void> {
    await this.#logger?.ready;
  }

  async attached(): Promise<void> {
    const { platform } = this.#context;
    this.#reception = platform.net.receiveDescriptor(this.#listener, CONSOLE_TIMEOUT);
    this.#master = await this.#reception.descriptor;
    this.#closeListener();
    if (this.#isClosed) {
      this.close();
      throw new Error("the terminal came too late: its process is not wanted any more");
    }
    if (this.#size !== undefined) this.resize(...this.#size);
    this.#hold();
    // Each direction has a descriptor of its own: a descriptor has one watch, and the output's ends with the stream.
    const fd = platform.fds.duplicate(this.#master);
    this.#output.start(fd);
    this.#input?.start(this.#master, () => this.#endInput());
  }

  record(): StdioRecord | undefined {
    if (this.#master < 0) return undefined;
    return {
      input: this.#input?.record(),
      sink: this.#master,
      outputs: this.#output.records(),
      loggers: this.#logger === undefined ? [] : [this.#logger.record()],
      held: this.#held,
    };
  }

  #resume(
    config: ProcessStdioConfig,
    { input, sink, outputs, loggers, held = -1 }: StdioRecord,
  ): TerminalOutput {
    const { platform, changed } = this.#context;
    const [logger] = loggers;
    const target = logger && parseTarget(platform, logger.uri);
    if (target?.kind === "logger") this.#logger = new Logger(this.#context, target, logger);
    const sinkOf = (kept: OutputRecord): Sink => this.#keptSink(kept);
    const output = TerminalOutput.resume(this.#context, config.stdout, sinkOf, config.policy, outputs);
    this.#master = sink;
    this.#held = held;
    if (input !== undefined) {
      this.#input = new Input(platform, config.stdin, changed, input);
      if (input.source >= 0) this.#input.start(sink, () => this.#endInput());
    }
    return output;
  }

  #keptSink({ uri, sink, broken }: OutputRecord): Sink {
    if (broken || uri === "") return { kind: "none" };
    if (this.#logger !== undefined) return this.#logger.sink("stdout", sink);
    return openTarget(this.#context.platform, uri, sink);
  }

  runtimeWords(): string {
    return "";
  }

  closeStdin(): void {
    this.#input?.closeInput();
  }

  resize(columns: number, rows: number): void {
    this.#size = [columns, rows];
    if (this.#master >= 0) this.#context.platform.resizeTerminal(this.#master, columns, rows);
  }

  /** Nobody waits for others who hold the terminal: they lose it with the process whose it is. */
  processEnded(): void {
    this.#release();
    this.#output.processEnded();
  }

  async drain(): Promise<void> {
    this.#logger?.finish(() => String(this.#output.progress()));
    await this.#output.done();
    await this.#logger?.ended;
  }

  figures(): OverflowFigures | undefined {
    return this.#output.figures();
  }

  close(): void {
    this.#isClosed = true;
    this.#reception?.cancel();
    this.#closeListener();
    this.#input?.close();
    this.#output.close();
    this.#logger?.close();
    this.#release();
    const fd = this.#master;
    if (fd < 0) return;
    this.#master = -1;
    this.#context.changed();
    this.#context.platform.fds.close(fd);
  }

  #sink(uri: string): Sink {
    const target = parseTarget(this.#context.platform, uri);
    if (target.kind !== "logger") return target;
    this.#logger = new Logger(this.#context, target);
    const sink = this.#logger.sink("stdout");
    this.#logger.closeUnused();
    return sink;
  }

  #hold(): void {
    const { platform, log, container } = this.#context;
    try {
      this.#held = platform.openTerminalPeer(this.#master);
    } catch (error) {
      log.warning("the terminal's other side cannot be held", { id: container, error });
    }
  }

  #release(): void {
    const fd = this.#held;
    if (fd < 0) return;
    this.#held = -1;
    this.#context.changed();
    this.#context.platform.fds.close(fd);
  }

  /** Closing the terminal would hang the process up; so the end of input is sent in the terminal's own way. */
  #endInput(rest: Uint8Array = END_OF_INPUT): void {
    if (this.#master < 0) return;
    const { fds, clock } = this.#context.platform;
    try {
      const left = rest.subarray(Math.max(fds.write(this.#master, rest), 0));
      if (left.length > 0) clock.after(FULL_RETRY, () => this.#endInput(left));
    } catch {
      // The process is gone, and nobody is left to read it.
    }
  }

  #closeListener(): void {
    if (this.#listener < 0) return;
    this.#context.platform.fds.close(this.#listener);
    this.#listener = -1;
    this.#context.platform.files.remove(this.#socketFile);
  }
}

/** Listens on a socket in a directory whose own path may be longer than a socket address allows. */
function listenInside(platform: Platform, directory: string, name: string): number {
  const fd = platform.fds.openDirectory(directory);
  try {
    return platform.net.listen(`/proc/self/fd/${fd}/${name}`, 0o600);
  } finally {
    platform.fds.close(fd);
  }
}
