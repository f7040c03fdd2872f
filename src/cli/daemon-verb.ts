// What verbs that talk to a daemon have in common: the connection, and doing one thing to several containers.
import type { Command } from "commander";
import { DaemonClient } from "./daemon-client.ts";
import { errorText, FAILED } from "./problem.ts";
import { commonFlags, type Settings, settingsOf } from "./verb-options.ts";

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
  command.action(async () => {
    const settings = settingsOf(command);
    const daemon = await DaemonClient.connect(settings.address, settings.namespace);
    try {
      await run({ settings, daemon, words: command.args, command });
    } finally {
      daemon.close();
    }
  });
  return command;
}

/** Does it to every one, whatever becomes of the others; says what failed, and makes the exit status 1 then. */
export async function forEach(ids: readonly string[], act: (id: string) => Promise<void>): Promise<void> {
  for (const id of ids) {
    try {
      await act(id);
    } catch (error) {
      process.stderr.write(`holdfast: ${id}: ${errorText(error)}\n`);
      process.exitCode = FAILED;
    }
  }
}
