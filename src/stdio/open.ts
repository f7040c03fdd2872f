// Opens a process's stdio: a terminal or pipes.
import { Terminal } from "./console.ts";
import { Pipes } from "./pipes.ts";
import type { StdioRecord } from "./records.ts";
import type { PipeOwner, ProcessStdioConfig, Stdio, StdioContext } from "./stdio.ts";

/** Opens a process's stdio in the container's bundle. Throws, with nothing left open, if a path or scheme is wrong. */
export function openStdio(context: StdioContext, config: ProcessStdioConfig, owner: PipeOwner): Stdio {
  return config.terminal ? new Terminal(context, config) : new Pipes(context, config, owner);
}

/** Goes on with the stdio that an earlier shim has left open. */
export function resumeStdio(context: StdioContext, config: ProcessStdioConfig, kept: StdioRecord): Stdio {
  if (config.terminal) return new Terminal(context, config, kept);
  return new Pipes(context, config, { uid: 0, gid: 0, isAskedFor: false }, kept);
}
