// The flags that every verb has, before or after its name, and what they and the environment come to.
import { type Command, CommanderError, InvalidArgumentError } from "commander";
import { NOT_STARTED, Problem, systemText, USAGE } from "../text/problem.ts";
import { Screen } from "../text/screen.ts";
import { MAX_DURATION_MS, parseBytes, parseDuration } from "../text/units.ts";

export const DEFAULT_ADDRESS = "/run/holdfast/holdfast.sock";
const DEFAULT_NAMESPACE = "default";
/** What containerd lets a namespace be called, and gRPC an HTTP header say. */
const IDENTIFIER = /^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$/;
const DEFAULT_TIMEOUT_MS = 2_000;
const DEFAULT_DAEMON_TIMEOUT_MS = 10_000;

export interface Settings {
  readonly address: string;
  readonly namespace: string;
  /** Whether a flag asks for the namespace; verbs that look at all of them do so otherwise. */
  readonly namespaceGiven: boolean;
  /** Whether a flag or the environment says it. */
  readonly namespaceSet: boolean;
  /** How long a shim may take for what should be answered at once, in ms. */
  readonly timeoutMs: number;
  /** The same for a daemon, which asks shims for some of it, one after the other. */
  readonly daemonTimeoutMs: number;
  /** What --timeout says, whatever the environment does. */
  readonly timeoutGivenMs: number | undefined;
  readonly screen: Screen;
}

interface RawOptions {
  readonly address?: string;
  readonly namespace?: string;
  readonly timeout?: number;
  readonly json?: boolean;
}

/** Adds the common flags; `daemon` for a verb that talks to one. */
export function commonFlags(command: Command, { daemon = true }: { daemon?: boolean } = {}): Command {
  if (daemon) {
    command.option("--address <socket>", "socket of holdfastd or containerd (HOLDFAST_ADDRESS)");
  }
  return command
    .option("-n, --namespace <name>", "namespace of the containers (HOLDFAST_NAMESPACE)")
    .option("--json", "print JSON, for programs")
    .option(
      "--timeout <duration>",
      "how long an answer may take, such as 500ms or 5s (HOLDFAST_TIMEOUT)",
      durationArgument,
    );
}

/** What the flags of a verb and of `holdfast` itself say; the environment stands in for what they do not. */
export function settingsOf(command: Command): Settings {
  const raw = flagsOf<RawOptions>(command);
  const { env } = process;
  if (raw.namespace === "") throw new Problem("--namespace: a namespace has a name", USAGE);
  const namespace = raw.namespace ?? (env.HOLDFAST_NAMESPACE || env.CONTAINERD_NAMESPACE || undefined);
  if (namespace !== undefined && !IDENTIFIER.test(namespace))
    throw new Problem(`--namespace ${namespace}: no name of a namespace`, USAGE);
  const timeout = raw.timeout ?? timeoutOf(env.HOLDFAST_TIMEOUT);
  const address = raw.address ?? env.HOLDFAST_ADDRESS ?? env.CONTAINERD_ADDRESS ?? DEFAULT_ADDRESS;
  return {
    address: address.replace(/^unix:\/\//, ""),
    namespace: namespace ?? DEFAULT_NAMESPACE,
    namespaceGiven: raw.namespace !== undefined,
    namespaceSet: namespace !== undefined,
    timeoutMs: timeout ?? DEFAULT_TIMEOUT_MS,
    daemonTimeoutMs: timeout ?? DEFAULT_DAEMON_TIMEOUT_MS,
    timeoutGivenMs: raw.timeout,
    screen: new Screen(raw.json === true),
  };
}

/** Of a verb and what stands before it. Those nearest to the verb count: what stands first may come from a shell's alias. */
export function flagsOf<T>(command: Command): T {
  const { parent } = command;
  return { ...(parent === null ? {} : flagsOf<object>(parent)), ...command.opts() } as T;
}

function timeoutOf(text: string | undefined): number | undefined {
  if (text === undefined || text === "") return undefined;
  try {
    return durationArgument(text);
  } catch (error) {
    throw new Problem(`HOLDFAST_TIMEOUT: ${systemText(error)}`, USAGE, { cause: error });
  }
}

/** For verbs that exit with the status of a process: a command line that makes no sense must not look like one. */
export function exitsLikeProcess(command: Command): Command {
  return command.exitOverride((error) => {
    throw error.exitCode === 0 ? error : new CommanderError(NOT_STARTED, error.code, error.message);
  });
}

/** For commander: milliseconds. */
export function durationArgument(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined || ms <= 0)
    throw new InvalidArgumentError("give a duration such as 500ms, 5s or 1m30s.");
  if (ms > MAX_DURATION_MS) throw new InvalidArgumentError("that is more than a century.");
  return ms;
}

/** For commander: bytes. */
export function sizeArgument(text: string): number {
  const size = parseBytes(text);
  if (size === undefined || size <= 0) throw new InvalidArgumentError("give a size such as 64m or 1.5g.");
  if (size > Number.MAX_SAFE_INTEGER) throw new InvalidArgumentError("no machine has that much memory.");
  return size;
}

/** For commander: a whole number from 0 on. */
export function countArgument(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError("give a whole number.");
  return Number(text);
}

/** For commander: a flag that may be given again and again. */
export function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

/** The examples at the end of a verb's --help, a command and what it does each. */
export function examples(
  command: Command,
  ...pairs: readonly (readonly [line: string, what: string])[]
): Command {
  const lines = pairs.map(([line, what]) => `  $ ${line}\n      ${what}`);
  return command.addHelpText("after", `\nExamples:\n${lines.join("\n")}`);
}
