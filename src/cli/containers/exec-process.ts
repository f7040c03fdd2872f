// The OCI process of an exec: the container's own, with another command. Used by `exec` and `shim … exec`.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Problem, systemText } from "../text/problem.ts";
import { parseUser, withEnvironment } from "./spec-process.ts";

export interface ExecOptions {
  readonly command: readonly string[];
  readonly terminal: boolean;
  readonly env: readonly string[];
  readonly cwd: string | undefined;
  readonly user: string | undefined;
}

/** `spec` is the container's. */
export function execProcess(spec: Record<string, unknown>, options: ExecOptions): Record<string, unknown> {
  const { process } = spec as { process?: Record<string, unknown> };
  const env = process?.env as readonly string[] | undefined;
  return {
    cwd: "/",
    user: { uid: 0, gid: 0 },
    ...process,
    args: options.command,
    terminal: options.terminal,
    env: withEnvironment(env ?? [], options.env, options.terminal),
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    ...(options.user !== undefined && { user: parseUser(options.user) }),
  };
}

/** The spec in a bundle. */
export function readBundleSpec(bundle: string): Record<string, unknown> {
  const path = join(bundle, "config.json");
  try {
    const spec: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof spec === "object" && spec !== null && !Array.isArray(spec))
      return spec as Record<string, unknown>;
  } catch (error) {
    throw new Problem(`${path}: ${systemText(error)}`, undefined, { cause: error });
  }
  throw new Problem(`${path}: not an OCI spec`);
}
