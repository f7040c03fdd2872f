// The flags of `exec` and `shim … exec`.
import { randomBytes } from "node:crypto";
import { type Command, Option } from "commander";
import { DEFAULT_DETACH_KEYS } from "../session/detach-keys.ts";
import type { ExecFlags } from "../session/exec-session.ts";
import { collect } from "./options.ts";

interface Raw {
  readonly tty?: boolean;
  readonly interactive?: boolean;
  readonly detach?: boolean;
  readonly env?: readonly string[];
  readonly cwd?: string;
  readonly workdir?: string;
  readonly user?: string;
  readonly execId?: string;
  readonly detachKeys: string;
}

export function execFlags(command: Command): Command {
  return command
    .option("-t, --tty", "give it a terminal")
    .option("-i, --interactive", "give it our input")
    .option("-d, --detach", "start it, print its id, and do not wait for it")
    .option("-e, --env <NAME=VALUE>", "set a variable; may be given again", collect)
    .option("-w, --workdir <dir>", "its working directory")
    .addOption(new Option("--cwd <dir>", "the same").hideHelp())
    .option("-u, --user <user[:group]>", "its user, by name or number")
    .option("--exec-id <id>", "its id, to kill it by (a random one)")
    .option("--detach-keys <keys>", "keys that leave it running", DEFAULT_DETACH_KEYS);
}

export function readExecFlags(command: Command, words: readonly string[]): ExecFlags {
  const raw = command.opts<Raw>();
  return {
    command: words,
    terminal: raw.tty === true,
    interactive: raw.interactive === true,
    detach: raw.detach === true,
    env: raw.env ?? [],
    cwd: raw.workdir ?? raw.cwd,
    user: raw.user,
    execId: raw.execId ?? `exec-${randomBytes(6).toString("hex")}`,
    detachKeys: raw.detachKeys,
  };
}
