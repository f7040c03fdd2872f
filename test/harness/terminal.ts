// A terminal in front of a program, for `ctr run --tty`. `script` (bsdutils, on every Debian) makes the pty; `stty` resizes it from outside.

import { readlinkSync } from "node:fs";
import { type CommandOptions, check, type Output, Running } from "./command.ts";
import { eventually } from "./eventually.ts";
import { allPids, processInfo } from "./processes.ts";

export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

export class Terminal {
  readonly #script: Running;

  private constructor(script: Running) {
    this.#script = script;
  }

  /** Runs a program with a terminal of that size as its stdin, stdout and stderr. */
  static run(argv: readonly string[], size: TerminalSize, options: CommandOptions = {}): Terminal {
    const inside = `stty rows ${size.rows} cols ${size.columns} && exec ${argv.map(quote).join(" ")}`;
    const script = ["script", "--quiet", "--return", "--flush", "--command", inside, "/dev/null"];
    return new Terminal(new Running(script, { ...options, stdin: "pipe" }));
  }

  /** Types these characters; "\r" is the return key. */
  type(keys: string): void {
    this.#script.stdin.write(keys);
  }

  /** Resolves when the screen has shown the pattern. */
  shows(pattern: RegExp): Promise<RegExpMatchArray> {
    return this.#script.printed(pattern);
  }

  get screen(): string {
    return this.#script.stdoutText;
  }

  /** Gives the terminal another size; the program in front gets SIGWINCH. */
  async resize(size: TerminalSize): Promise<void> {
    const device = await this.#device();
    await check(["stty", "-F", device, "rows", String(size.rows), "cols", String(size.columns)]);
  }

  async #device(): Promise<string> {
    return eventually("the program on the terminal", () => {
      const child = allPids().find((pid) => processInfo(pid)?.parent === this.#script.pid);
      if (child === undefined) return undefined;
      const target = readlinkSync(`/proc/${child}/fd/0`);
      return target.startsWith("/dev/pts/") ? target : undefined;
    });
  }

  get exited(): Promise<Output> {
    return this.#script.exited;
  }

  kill(): void {
    this.#script.kill("SIGKILL");
  }
}
