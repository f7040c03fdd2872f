// What verbs that talk to a daemon have in common: the connection, and doing one thing to several containers.
import type { Command } from "commander";
import { connectDaemon } from "../containers/connect.ts";
import type { DaemonClient } from "../containers/daemon-client.ts";
import { containerId } from "../containers/names.ts";
import { errorText, FAILED, notStarted, Problem } from "../text/problem.ts";
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

/** What can be said of a command line without a daemon: throws a Problem if it makes no sense. */
export type Check = (call: Pick<Visit, "command" | "words">) => void;

const NO_CHECK: Check = () => {};

/** Adds a verb with the common flags; `run` gets a connection for as long as it takes. */
export function daemonVerb(
  program: Command,
  usage: string,
  description: string,
  run: (visit: Visit) => Promise<void>,
  check: Check = NO_CHECK,
): Command {
  const command = program.command(usage).description(description);
  commonFlags(command);
  return command.action(() => connected(command, run, check));
}

/** The same for a verb that exits with the status of a process. */
export function processVerb(
  program: Command,
  usage: string,
  description: string,
  run: (visit: Visit) => Promise<void>,
  check: Check = NO_CHECK,
): Command {
  const command = program.command(usage).description(description);
  commonFlags(exitsLikeProcess(command));
  return command.action(async () => {
    try {
      await connected(command, run, check);
    } catch (error) {
      throw notStarted(error);
    }
  });
}

/** Runs a verb with a connection to the daemon for as long as it takes. */
export async function connected(
  command: Command,
  run: (visit: Visit) => Promise<void>,
  check: Check = NO_CHECK,
): Promise<void> {
  check({ command, words: command.args });
  const settings = settingsOf(command);
  const { address, namespace, daemonTimeoutMs } = settings;
  const daemon = await connectDaemon(address, namespace, daemonTimeoutMs);
  try {
    await run({ settings, daemon, words: command.args, command });
  } finally {
    daemon.close();
  }
}

/** Does it to every container that is named, one after the other, whatever becomes of the others; says what failed, and makes the exit status 1 then. */
export async function forEach({ daemon, words }: Visit, act: (id: string) => Promise<void>): Promise<void> {
  for (const word of words) await attempt(daemon, word, act);
}

/** The same, all at once. */
export async function forEachAtOnce(
  { daemon, words }: Visit,
  act: (id: string) => Promise<void>,
): Promise<void> {
  await Promise.all([...new Set(words)].map((word) => attempt(daemon, word, act)));
}

async function attempt(
  daemon: DaemonClient,
  word: string,
  act: (id: string) => Promise<void>,
): Promise<void> {
  try {
    await act(await containerId(daemon, word));
  } catch (error) {
    failed(word, error);
  }
}

/** Says what went wrong with one of several. */
export function failed(word: string, error: unknown): void {
  complain(errorText(error), word);
  process.exitCode = error instanceof Problem ? error.status : FAILED;
}

/** The container that the first word names. */
export function firstContainer({ daemon, words: [word = ""] }: Visit): Promise<string> {
  return containerId(daemon, word);
}
