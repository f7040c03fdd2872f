// What verbs that talk to a daemon have in common: the connection, and doing one thing to several containers.
import type { Command } from "commander";
import { DaemonClient } from "../containers/daemon-client.ts";
import { errorText, FAILED, notStarted } from "../text/problem.ts";
import { complain } from "../text/screen.ts";
import { commonFlags, exitsLikeProcess, type Settings, settingsOf } from "./options.ts";

/** One call on the command line, connected. */
export interface Visit {
  readonly settings: Settings;
  readonly daemon: DaemonClient;
  /** The verb's own positional arguments. */
  readonly words: readonly string[];
  readonly command: Command;
}

/** Adds a verb with the common flags; `run` gets a connection for as long as it takes. */
export function daemonVerb(
  program: Command,
  usage: string,
  description: string,
  run: (visit: Visit) => Promise<void>,
): Command {
  const command = program.command(usage).description(description);
  commonFlags(command);
  return command.action(() => connected(command, run));
}

/** The same for a verb that exits with the status of a process. */
export function processVerb(
  program: Command,
  usage: string,
  description: string,
  run: (visit: Visit) => Promise<void>,
): Command {
  const command = program.command(usage).description(description);
  commonFlags(exitsLikeProcess(command));
  return command.action(async () => {
    try {
      await connected(command, run);
    } catch (error) {
      throw notStarted(error);
    }
  });
}

async function connected(command: Command, run: (visit: Visit) => Promise<void>): Promise<void> {
  const settings = settingsOf(command);
  const { address, namespace, daemonTimeoutMs } = settings;
  const daemon = await DaemonClient.connect(address, namespace, daemonTimeoutMs);
  try {
    await run({ settings, daemon, words: command.args, command });
  } finally {
    daemon.close();
  }
}

/** Does it to every one, whatever becomes of the others; says what failed, and makes the exit status 1 then. */
export async function forEach(ids: readonly string[], act: (id: string) => Promise<void>): Promise<void> {
  for (const id of ids) {
    try {
      await act(id);
    } catch (error) {
      complain(errorText(error), id);
      process.exitCode = FAILED;
    }
  }
}
