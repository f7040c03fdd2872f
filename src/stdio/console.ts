// Stdio with a terminal: the runtime makes a pty in the container and passes its master over the console socket.
import type { Platform } from "../platform/platform.ts";
import { Input } from "./input.ts";
import { Output, parseTarget, type Target } from "./output.ts";
import type { Stdio, StdioConfig } from "./stdio.ts";

/** How long the runtime may take to pass the terminal once its command has ended, in ms. */
const CONSOLE_TIMEOUT = 10_000;
/** What a terminal takes for "no more input" (VEOF) in its usual mode. */
const END_OF_INPUT = new Uint8Array([4]);

let sockets = 0;

export class Terminal implements Stdio {
  readonly childFds: readonly [number, number, number] = [-1, -1, -1];
  readonly consoleSocket: string;
  readonly drained: Promise<void>;
  readonly #platform: Platform;
  readonly #config: StdioConfig;
  readonly #target: Target;
  readonly #socketFile: string;
  #listener = -1;
  #master = -1;
  #input: Input | undefined;
  #output: Output | undefined;
  #size: [columns: number, rows: number] | undefined;
  #inputClosed = false;
  #settle: () => void = () => {};

  constructor(platform: Platform, bundle: string, config: StdioConfig) {
    this.#platform = platform;
    this.#config = config;
    this.#target = parseTarget(platform, config.stdout);
    this.consoleSocket = `console-${platform.self.pid()}-${sockets++}.sock`;
    this.#socketFile = `${bundle}/${this.consoleSocket}`;
    this.#listener = listenInside(platform, bundle, this.consoleSocket);
    this.drained = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  async attached(): Promise<void> {
    const { fds, net } = this.#platform;
    this.#master = await net.receiveDescriptor(this.#listener, CONSOLE_TIMEOUT);
    this.#closeListener();
    if (this.#size !== undefined) this.resize(...this.#size);
    // Each direction has a descriptor of its own: a descriptor has one watch, and the output's ends with the stream.
    this.#output = new Output(this.#platform, fds.duplicate(this.#master), this.#target);
    this.#output.drained.then(() => this.#settle());
    if (this.#config.stdin === "") return;
    this.#input = new Input(this.#platform, this.#config.stdin, this.#master, () => this.#endInput());
    if (this.#inputClosed) this.#input.closeInput();
  }

  closeStdin(): void {
    this.#inputClosed = true;
    this.#input?.closeInput();
  }

  resize(columns: number, rows: number): void {
    this.#size = [columns, rows];
    if (this.#master >= 0) this.#platform.resizeTerminal(this.#master, columns, rows);
  }

  close(): void {
    this.#closeListener();
    this.#input?.close();
    this.#output?.close();
    if (this.#master >= 0) this.#platform.fds.close(this.#master);
    this.#master = -1;
    this.#settle();
  }

  /** Closing the terminal would hang the process up; so it is told in the terminal's own way that no more input comes. */
  #endInput(): void {
    try {
      this.#platform.fds.write(this.#master, END_OF_INPUT);
    } catch {
      // The process is gone, and nobody is left to be told.
    }
  }

  #closeListener(): void {
    if (this.#listener < 0) return;
    this.#platform.fds.close(this.#listener);
    this.#listener = -1;
    this.#platform.files.remove(this.#socketFile);
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
