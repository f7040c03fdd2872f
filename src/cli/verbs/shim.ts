// `holdfast shim <id|socket|pid> <verb>`: speaks to one shim with no daemon in between, Go's as well as ours.
import { Command, Option } from "commander";
import { RUNC_PROCESS_DETAILS, unpack } from "../../api/any.ts";
import { ProcessDetails } from "../../api/generated/runc_options.ts";
import { readBundleSpec } from "../containers/exec-process.ts";
import { runExec } from "../session/exec-session.ts";
import type { ProcessState } from "../session/task-port.ts";
import { ShimConnection } from "../shims/connection.ts";
import { dumpShim } from "../shims/dump.ts";
import { argumentsOf } from "../shims/proc.ts";
import { type ShimTarget, stoppedHint } from "../shims/target.ts";
import { ShimTask } from "../shims/task.ts";
import { printDump } from "../text/dump-print.ts";
import { errorText, notStarted, Problem, USAGE } from "../text/problem.ts";
import { exitText, signalNumber } from "../text/signals.ts";
import { nsToIso } from "../text/units.ts";
import { directKill } from "./direct-kill.ts";
import { execFlags, readExecFlags } from "./exec-flags.ts";
import { commonFlags, examples, exitsLikeProcess, type Settings, settingsOf } from "./options.ts";
import { programOption, shimUpgrade, takeFlagsOf, targetOf, UPGRADE, upgradeShims } from "./shim-upgrade.ts";
import { deadline } from "./wait.ts";

/** What the command line names, before anything is asked of it. */
interface Place {
  readonly settings: Settings;
  readonly target: ShimTarget;
  /** undefined if the shim has none, or several. */
  readonly container: string | undefined;
  readonly command: Command;
}

/** The same, connected. */
interface Visit extends Place {
  readonly shim: ShimConnection;
  readonly task: ShimTask;
}

export function addShim(program: Command): void {
  const command = program
    .command("shim [id|socket|pid] [verb...]")
    .description("speak to one shim: state, pids, exec, kill, wait, dump, upgrade, shutdown; needs no daemon")
    .passThroughOptions()
    .helpOption(false)
    .option("-h, --help", "display help for command");
  commonFlags(command, { daemon: false });
  command.action(async (word: string | undefined, rest: readonly string[], options: { help?: boolean }) => {
    if (word === "upgrade") {
      const words = options.help === true ? ["--help", ...rest] : rest;
      await shimUpgrade(command).parseAsync([...words], { from: "user" });
      return;
    }
    const verbs = shimVerbs(command, word ?? "<id|socket|pid>");
    if (options.help === true) verbs.outputHelp();
    else if (word === undefined || rest.length === 0) verbs.help({ error: true });
    else await verbs.parseAsync([...rest], { from: "user" });
  });
}

/** The verbs for the shim that `word` means. */
export function shimVerbs(parent: Command, word: string): Command {
  const verbs = new Command(`holdfast shim ${word}`)
    .configureOutput(parent.configureOutput())
    .description(
      "Speaks to a shim with no daemon in between. The shim is named by a container's id, its socket, its pid, or a pid in its container.",
    )
    .enablePositionalOptions()
    .exitOverride();
  const add: Add = (usage, description, run, failed = (error) => error) => {
    const verb = verbs.command(usage).description(description).exitOverride();
    verb.option("-c, --container <id>", "which container, of a shim that has several");
    commonFlags(verb, { daemon: false });
    return verb.action(async () => {
      try {
        await run(placeOf(word, parent, verb));
      } catch (error) {
        throw failed(error);
      }
    });
  };
  const exec = new Option("-e, --exec-id <id>", "an exec of the container, not its init");
  examples(
    add("state", "show the state of the container's init, or of an exec", visiting(showState)).addOption(
      exec,
    ),
    [`holdfast shim ${word} state --json`, "for a program"],
  );
  examples(add("pids", "list the processes in the container", visiting(showPids)), [
    `holdfast shim ${word} pids`,
    "with the exec that each belongs to",
  ]);
  addExec(add);
  examples(
    add("kill", "send a signal to the init, or to an exec", kill)
      .addOption(exec)
      .option("-s, --signal <signal>", "name or number (SIGTERM; with --direct SIGKILL, to all processes)")
      .option("--all", "to all processes of the container")
      .option("--direct", "without shim and runtime: for what hangs"),
    [`holdfast shim ${word} kill -s KILL --all`, "end everything in it"],
    [`holdfast shim ${word} kill --direct`, "the same when the shim or the runtime hangs"],
  );
  examples(add("wait", "wait for the end; prints the exit status", visiting(wait)).addOption(exec), [
    `holdfast shim ${word} wait`,
    "128 + n after signal n",
  ]);
  examples(
    add(
      "dump",
      "show what the shim is doing: last calls, calls under way, children, descriptors, memory",
      dump,
    ),
    [`holdfast shim ${word} dump`, "also of a shim that hangs, from /proc"],
  );
  examples(
    add("upgrade", UPGRADE, ({ settings, target, command }) =>
      upgradeShims(settings, [target], command.opts<{ program?: string }>().program),
    ).addOption(programOption()),
    [
      `holdfast shim ${word} upgrade`,
      "after npm run install-host; `holdfast shim upgrade --all` does it for all",
    ],
  );
  examples(
    add("shutdown", "ask the shim to leave; it does once it has no container", visiting(shutdown)).option(
      "--now",
      "whatever it still has (Go's shim then abandons its containers)",
    ),
    [`holdfast shim ${word} shutdown`, "for a shim that was left behind without a container"],
  );
  return examples(
    verbs,
    ["holdfast shim web state", "is the container of this shim running?"],
    ["holdfast shim 4711 dump", "why does the shim with this pid not answer?"],
    ["holdfast shim web exec -it -- sh", "a shell in the container, while the daemon is down"],
    ["holdfast shim web kill --signal KILL --all", "end everything in it"],
  );
}

/** `failed` makes of an error what the verb ends with. */
type Add = (
  usage: string,
  description: string,
  run: (place: Place) => Promise<void>,
  failed?: (error: unknown) => unknown,
) => Command;

/** Exits with the status of a process. */
function addExec(add: Add): void {
  const verb = add(
    "exec <command...>",
    "run a command in the container; exits with its status",
    visiting(runCommand),
    notStarted,
  );
  execFlags(exitsLikeProcess(verb).passThroughOptions());
  examples(verb, ["holdfast shim web exec -it -- sh", "a shell, while the daemon is down"]);
}

function placeOf(word: string, parent: Command, command: Command): Place {
  takeFlagsOf(parent, command);
  const settings = settingsOf(command);
  const target = targetOf(word, settings);
  return {
    settings,
    target,
    command,
    container: command.opts<{ container?: string }>().container ?? target.container,
  };
}

/** Connects for as long as `run` takes. */
function visiting(run: (visit: Visit) => Promise<void>): (place: Place) => Promise<void> {
  return async (place) => {
    const { target, settings } = place;
    const container = oneContainer(place);
    const shim = await openShim(target, container, settings.timeoutMs);
    try {
      await run({ ...place, shim, task: new ShimTask(shim, container) });
    } finally {
      shim.close();
    }
  };
}

/** Throws a Problem if it is not clear which is meant. */
function oneContainer({ container, target }: Place): string {
  if (container !== undefined) return container;
  const several = target.shim?.containers.join(", ") ?? "";
  throw new Problem(
    `which container of this shim? Give -c${several === "" ? "" : ` with one of: ${several}`}`,
    USAGE,
  );
}

async function openShim(target: ShimTarget, container: string, timeoutMs: number): Promise<ShimConnection> {
  try {
    return await ShimConnection.open(target.socket, container, timeoutMs);
  } catch (error) {
    throw new Problem(`${errorText(error)}${stoppedHint(target.shim)}`, undefined, { cause: error });
  }
}

function execIdOf(command: Command): string {
  return command.opts<{ execId?: string }>().execId ?? "";
}

async function showState({ settings, task, command }: Visit): Promise<void> {
  printState(settings, await task.state(execIdOf(command)));
}

function printState({ screen }: Settings, state: ProcessState): void {
  if (screen.json) {
    screen.document({
      ...state,
      exit:
        state.exit === undefined ? null : { status: state.exit.status, at: nsToIso(state.exit.at) ?? null },
    });
    return;
  }
  screen.fields([
    ["id", state.id],
    ["exec", state.execId],
    ["status", state.status],
    ["pid", String(state.pid)],
    ["exit status", state.exit && exitText(state.exit.status)],
    ["exited at", state.exit && nsToIso(state.exit.at)],
    ["bundle", state.bundle],
    ["terminal", state.terminal ? "yes" : "no"],
    ["stdin", state.stdin],
    ["stdout", state.stdout],
    ["stderr", state.stderr],
  ]);
}

async function showPids({ settings: { screen }, task, shim }: Visit): Promise<void> {
  const { processes } = await shim.task.pids({ id: task.id }, shim.limit);
  const rows = processes.map(({ pid, info }) => {
    const execId = (info && unpack(info, RUNC_PROCESS_DETAILS, ProcessDetails))?.execId ?? "";
    return { pid, execId, command: argumentsOf(pid).join(" ") };
  });
  if (screen.json) screen.document(rows);
  else
    screen.table(
      ["PID", "EXEC", "COMMAND"],
      rows.map((row) => [String(row.pid), row.execId, row.command]),
    );
}

async function runCommand({ task, command, settings: { screen } }: Visit): Promise<void> {
  const { bundle } = await task.state("");
  const flags = readExecFlags(command, command.args);
  const outcome = await runExec(task, readBundleSpec(bundle), flags);
  if (outcome !== "detached") process.exitCode = outcome.status;
  else if (flags.detach) screen.id(flags.execId);
  else screen.note(`${flags.execId} goes on`);
}

async function kill(place: Place): Promise<void> {
  const { command, target, settings } = place;
  const flags = command.opts<{ signal?: string; all?: boolean; execId?: string; direct?: boolean }>();
  if (flags.direct === true) {
    const namespace = target.shim?.namespace ?? settings.namespace;
    await directKill(namespace, oneContainer(place), flags, settings.timeoutMs);
    return;
  }
  const number = signalNumber(flags.signal ?? "SIGTERM");
  await visiting(({ task }) => task.kill(execIdOf(command), number, flags.all))(place);
}

async function wait({ task, command, settings: { screen, timeoutGivenMs } }: Visit): Promise<void> {
  const exit = await Promise.race([task.wait(execIdOf(command)), deadline(timeoutGivenMs)]);
  if (screen.json) screen.document({ status: exit.status, at: nsToIso(exit.at) ?? null });
  else screen.line(String(exit.status));
}

async function dump({ settings, target, container }: Place): Promise<void> {
  const dumped = await dumpShim(target, container, settings.timeoutMs);
  if (settings.screen.json) settings.screen.document(dumped);
  else printDump(settings.screen, dumped);
}

async function shutdown({ task, shim, target, settings, command }: Visit): Promise<void> {
  const now = command.opts<{ now?: boolean }>().now === true;
  try {
    await shim.task.shutdown({ id: task.id, now }, shim.limit);
  } catch (error) {
    // Who leaves at once may not come to answer.
    if (!shim.client.closed) throw error;
  }
  const left = target.shim?.containers ?? [];
  if (!shim.client.closed && left.length > 0 && !now) {
    settings.screen.note(`it stays as long as it has containers: ${left.join(", ")}`);
  }
}
