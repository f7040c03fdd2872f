// The OCI process of an exec: the container's own, with another command.
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseExact } from "../text/exact-json.ts";
import { Problem, systemText } from "../text/problem.ts";
import type { Root } from "./root-file.ts";
import { withEnvironment, withUser } from "./spec-process.ts";

export interface ExecOptions {
  readonly command: readonly string[];
  readonly terminal: boolean;
  readonly env: readonly string[];
  readonly cwd: string | undefined;
  readonly user: string | undefined;
}

/** `spec` is the container's, and `root` what its processes have as theirs. */
export function execProcess(
  spec: Record<string, unknown>,
  options: ExecOptions,
  root: Root | undefined,
): Record<string, unknown> {
  const { process } = spec as { process?: Record<string, unknown> };
  const env = process?.env as readonly string[] | undefined;
  const base = { cwd: "/", user: { uid: 0, gid: 0 }, ...process };
  return {
    ...(options.user === undefined ? base : withUser(base, options.user, root)),
    args: options.command,
    terminal: options.terminal,
    env: withEnvironment(env ?? [], options.env, options.terminal),
    ...(options.cwd !== undefined && { cwd: options.cwd }),
  };
}

/** The spec in a bundle. */
export function readBundleSpec(bundle: string): Record<string, unknown> {
  const path = join(bundle, "config.json");
  try {
    // A fifo would keep us waiting, and a device might never end.
    if (!statSync(path).isFile()) throw new Problem(`${path}: not a file`);
    const spec: unknown = parseExact(readFileSync(path, "utf8"));
    if (typeof spec === "object" && spec !== null && !Array.isArray(spec))
      return spec as Record<string, unknown>;
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem(`${path}: ${systemText(error)}`, undefined, { cause: error });
  }
  throw new Problem(`${path}: not an OCI spec`);
}
