// The terminal that we run in: raw while a container has it, and as it was before whatever happens to us then.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { onExit } from "signal-exit";

/** Sets the terminal back when its pipe ends without a word: we were killed in a way that nobody can catch. */
const GUARD = 'read -r word; [ "$word" = done ] || { stty "$1" <&3; printf %b "$2" >&3; }';

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** The size of the terminal that output goes to; undefined without one. */
export function terminalSize(): TerminalSize | undefined {
  const [columns, rows] = process.stdout.isTTY ? process.stdout.getWindowSize() : [];
  return columns === undefined || rows === undefined ? undefined : { columns, rows };
}

/** Raw mode of stdin, which must be a terminal. */
export class RawMode {
  readonly #leave: string;
  readonly #guard: ChildProcess;
  readonly #off: () => void;
  #raw = true;

  /** `leave` is written to the terminal at the end, such as to show the cursor again. */
  constructor(leave = "") {
    this.#leave = leave;
    const saved = execFileSync("stty", ["-g"], { stdio: [0, "pipe", "ignore"], encoding: "utf8" }).trim();
    // In a session of its own: signals for us do not reach it, and job control does not keep it from the terminal.
    this.#guard = spawn("sh", ["-c", GUARD, "sh", saved, leave], {
      stdio: ["pipe", "ignore", "ignore", 0],
      detached: true,
    });
    this.#guard.unref();
    this.#guard.stdin?.on("error", () => {});
    this.#off = onExit(() => this.restore());
    process.stdin.setRawMode(true);
    // Node leaves it on, and \r\n of the container's terminal would come out as \r\r\n.
    execFileSync("stty", ["-opost"], { stdio: [0, "ignore", "ignore"] });
  }

  /** Back to how it was. May be called again. */
  restore(): void {
    if (!this.#raw) return;
    this.#raw = false;
    this.#off();
    process.stdin.setRawMode(false);
    if (this.#leave !== "") process.stdout.write(this.#leave);
    this.#guard.stdin?.end("done\n");
  }
}
