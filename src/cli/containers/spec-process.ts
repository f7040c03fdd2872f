// Parts of an OCI process that flags say: its environment and its user. Used for new containers and for execs.
import { userVariable } from "../../platform/node-launch.ts";
import { Problem, USAGE } from "../text/problem.ts";

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

/** The OCI user of "1000" or "1000:1000". Throws a Problem for names: only the container knows them. */
export function parseUser(text: string): { uid: number; gid: number } {
  const match = /^(\d+)(?::(\d+))?$/.exec(text);
  if (match === null) throw new Problem(`--user ${text}: give numbers, as in 1000:1000`, USAGE);
  return { uid: Number(match[1]), gid: Number(match[2] ?? 0) };
}
