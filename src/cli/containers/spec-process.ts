// Parts of an OCI process that flags say: its environment, its user and what that user may do.
import { userVariable } from "../../platform/node-launch.ts";
import { Problem, USAGE } from "../text/problem.ts";
import type { Root } from "./root-file.ts";
import { userOf } from "./user.ts";

/**
 * `base` with the variables of `--env` put over it: NAME=VALUE, or NAME for the value that it has here. A terminal gets TERM.
 * Throws a Problem for what has no name.
 */
export function withEnvironment(
  base: readonly string[],
  flags: readonly string[],
  terminal: boolean,
): string[] {
  const env = new Map(base.map((entry) => [entry.split("=", 1)[0] ?? "", entry]));
  if (terminal && !env.has("TERM")) env.set("TERM", `TERM=${process.env.TERM ?? "xterm"}`);
  for (const flag of flags) {
    const name = flag.split("=", 1)[0] ?? "";
    if (name === "") throw new Problem(`--env ${flag}: a variable has a name: NAME=VALUE`, USAGE);
    if (flag.includes("=")) env.set(name, flag);
    else {
      const value = userVariable(name);
      if (value !== undefined) env.set(name, `${name}=${value}`);
    }
  }
  return [...env.values()];
}

/** `process` run by the user that `text` means: as with execve, who is not root has no capability at once, whatever others may have. */
export function withUser(
  process: Readonly<Record<string, unknown>>,
  text: string,
  root: Root | undefined,
): Record<string, unknown> {
  const { umask } = (process.user ?? {}) as { umask?: unknown };
  const user = { ...userOf(text, root), ...(umask !== undefined && { umask }) };
  const { bounding } = (process.capabilities ?? {}) as { bounding?: unknown };
  const keepsNone = user.uid !== 0 && bounding !== undefined;
  return { ...process, user, ...(keepsNone && { capabilities: { bounding } }) };
}
