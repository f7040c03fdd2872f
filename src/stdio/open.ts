// Opens a process's stdio: a terminal or pipes. Used by src/task.
import type { Platform } from "../platform/platform.ts";
import { Terminal } from "./console.ts";
import { Pipes } from "./pipes.ts";
import type { PipeOwner, Stdio, StdioConfig } from "./stdio.ts";

/** Opens a process's stdio in the container's bundle. Throws, with nothing left open, if a path or scheme is wrong. */
export function openStdio(platform: Platform, bundle: string, config: StdioConfig, owner: PipeOwner): Stdio {
  return config.terminal ? new Terminal(platform, bundle, config) : new Pipes(platform, config, owner);
}
