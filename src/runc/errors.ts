// How a runtime's command failed, and in whose words.
import { isSystemError } from "../platform/platform.ts";

/** A command of the runtime that failed, with all that it said. */
export class RuntimeError extends Error {
  readonly argv: readonly string[];
  /** Exit code, or 128 + signal. */
  readonly status: number;
  /** The last error of the runtime's own log; its stderr where the log has none. */
  readonly reason: string;
  /** Whether it did not end within its bound, and was killed. */
  readonly hung: boolean;

  constructor(argv: readonly string[], status: number, reason: string, hung = false) {
    super(reason === "" ? `${argv.join(" ")} did not complete: exit status ${status}` : reason);
    this.argv = argv;
    this.status = status;
    this.reason = reason;
    this.hung = hung;
  }
}

/** What could not be executed, in the words that Go's programs have for it: people search for them. */
export function explainSpawn(program: string, error: unknown): unknown {
  if (!isSystemError(error) || error.syscall !== "execve") return error;
  if (!program.includes("/") && ["ENOENT", "EACCES"].includes(error.code)) {
    return new Error(`exec: "${program}": executable file not found in $PATH`, { cause: error });
  }
  const reason = error.message.slice(error.message.lastIndexOf(": ") + 2).toLowerCase();
  return new Error(`fork/exec ${program}: ${reason}`, { cause: error });
}

/** The message of one line of a runtime's log, of level "error". Anything else, broken JSON included, is not of interest. */
export function errorOfLine(line: string): string | undefined {
  try {
    const entry: unknown = JSON.parse(line);
    if (typeof entry !== "object" || entry === null) return undefined;
    const { level, msg } = entry as { level?: unknown; msg?: unknown };
    return level === "error" && typeof msg === "string" ? msg.trim() : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a failed kill means that the process is gone. The texts are those of runc, crun and youki. */
export function isAlreadyGone(error: unknown): boolean {
  if (isSystemError(error, "ESRCH")) return true;
  if (!(error instanceof RuntimeError)) return false;
  const reason = error.reason.toLowerCase();
  return ["process already finished", "container not running", "no such process"].some((text) =>
    reason.includes(text),
  );
}
