// The terminal that we run in: raw while a container has it, and as it was before whatever happens to us then.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { onExit } from "signal-exit";

/**
 * Makes the terminal raw to the last, says so, and sets it back when its pipe ends without a word: we were killed in a way that nobody can catch. One
 * process does both, one after the other: a stty of our own could outlive us and come after what sets the terminal back.
 */
const GUARD =
  'stty -opost <&3; echo; read -r word; [ "$word" = done ] || { stty "$1" <&3; printf %b "$2" >&3; }';

/** Raw mode of stdin, which must be a terminal. */
export class RawMode {
  readonly #leave: string;
  readonly #guard: ChildProcess;
  readonly #off: () => void;
  #raw = true;
  #entered = false;

  private constructor(leave: string) {
    this.#leave = leave;
    const saved = execFileSync("stty", ["-g"], { stdio: [0, "pipe", "ignore"], encoding: "utf8" }).trim();
    this.#off = onExit(() => this.restore());
    process.stdin.setRawMode(true);
    // In a session of its own: signals for us do not reach it, and job control does not keep it from the terminal.
    this.#guard = spawn("sh", ["-c", GUARD, "sh", saved, leave], {
      stdio: ["pipe", "pipe", "ignore", 0],
      detached: true,
    });
    this.#guard.unref();
    this.#guard.stdin?.on("error", () => {});
  }

  /** Resolves when the terminal is raw. `leave` is written to it at the end, such as to show the cursor again. */
  static async enter(leave = ""): Promise<RawMode> {
    const raw = new RawMode(leave);
    const { stdout } = raw.#guard;
    // Node's own raw mode leaves output as it is, and \r\n of the container's terminal would come out as \r\r\n.
    await new Promise<void>((resolve) => {
      raw.#guard.once("error", () => resolve());
      stdout?.once("data", () => resolve());
      stdout?.once("close", () => resolve());
    });
    raw.#entered = true;
    return raw;
  }

  /** Back to how it was. May be called again. */
  restore(): void {
    if (!this.#raw) return;
    this.#raw = false;
    this.#off();
    process.stdin.setRawMode(false);
    if (this.#leave !== "") process.stdout.write(this.#leave);
    // While it may still be at making the terminal raw it has to set it back itself.
    this.#guard.stdin?.end(this.#entered ? "done\n" : "");
  }
}
