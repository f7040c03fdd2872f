// The command line of `holdfast`: puts the verbs together and turns what they throw into a line on stderr and an exit status.
import { Command, CommanderError } from "commander";
import { VERSION } from "../api/version.ts";
import { printableLines } from "./text/printable.ts";
import { errorText, FAILED, Problem, USAGE } from "./text/problem.ts";
import { complain, complainInJson } from "./text/screen.ts";
import { addArchiveVerbs } from "./verbs/archives.ts";
import { addCompletion } from "./verbs/completion.ts";
import { addDoctor } from "./verbs/doctor.ts";
import { addEventVerbs } from "./verbs/events.ts";
import { addFileVerbs } from "./verbs/files.ts";
import { addImageVerbs } from "./verbs/images.ts";
import { addInspect } from "./verbs/inspect.ts";
import { addListVerbs } from "./verbs/list.ts";
import { commonFlags, examples } from "./verbs/options.ts";
import { addPruneVerbs } from "./verbs/prune.ts";
import { addRegistryVerbs } from "./verbs/registry.ts";
import { addRunVerbs } from "./verbs/run.ts";
import { addShim } from "./verbs/shim.ts";
import { addShims } from "./verbs/shims.ts";
import { addStatsVerbs } from "./verbs/stats.ts";
import { addStopVerbs } from "./verbs/stop.ts";
import { addTaskVerbs } from "./verbs/task.ts";
import { addHelp, answerFlag, answerUnknown } from "./verbs/unknown.ts";
import { addVersion } from "./verbs/version.ts";
import { addWait } from "./verbs/wait.ts";

/** `wrong` gets what is wrong with the command line, before an error is thrown. */
function buildProgram(wrong: (text: string) => void): Command {
  const program = new Command("holdfast")
    .description("See and poke containers and their shims, with or without a daemon.")
    .version(VERSION, "-V, --version")
    .enablePositionalOptions()
    .configureOutput({ writeErr: wrong })
    .exitOverride();
  commonFlags(program);
  examples(
    program,
    ["holdfast shims", "every shim on this host; no daemon needed"],
    ["holdfast run --rm -it --rootfs ./rootfs sh", "a shell in a container"],
    ["holdfast ps", "the containers of the daemon"],
  );
  addRunVerbs(program);
  addTaskVerbs(program);
  addStopVerbs(program);
  addWait(program);
  addListVerbs(program);
  addImageVerbs(program);
  addRegistryVerbs(program);
  addArchiveVerbs(program);
  addFileVerbs(program);
  addPruneVerbs(program);
  addInspect(program);
  addStatsVerbs(program);
  addEventVerbs(program);
  addShims(program);
  addShim(program);
  addDoctor(program);
  addCompletion(program);
  addVersion(program);
  addHelp(program);
  answerUnknown(program);
  return program;
}

/** Runs a command line (without program name); resolves to the exit status. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  const json = asksForJson(argv);
  complainInJson(json);
  let wrong = "";
  const program = buildProgram((text) => {
    wrong += text;
  });
  try {
    await program.parseAsync([...argv], { from: "user" });
    return typeof process.exitCode === "number" ? process.exitCode : 0;
  } catch (error) {
    return error instanceof CommanderError
      ? misused(error, wrong, verbOf(program, argv), json)
      : report(error);
  }
}

/** As far as it can be told of a command line that makes no sense: whatever follows "--" is a container's. */
function asksForJson(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return (end < 0 ? argv : argv.slice(0, end)).includes("--json");
}

/** The verb of a command line that makes no sense; "" if it has none. */
function verbOf(program: Command, argv: readonly string[]): string {
  const names = program.commands.flatMap((command) => [command.name(), ...command.aliases()]);
  return argv.find((word) => names.includes(word)) ?? "";
}

/** `wrong` is what commander says of it: nothing if it was asked for help, and all the help if a verb is missing. */
function misused({ code, exitCode }: CommanderError, wrong: string, verb: string, json: boolean): number {
  const status = exitCode <= 1 ? exitCode * USAGE : exitCode;
  if (code === "commander.help") {
    if (json) complain("a verb is missing: --help tells them");
    else process.stderr.write(printableLines(wrong));
  } else if (exitCode !== 0) {
    const text = wrong
      .trim()
      .replace(/^error: /, "")
      .replace(/\.$/, "")
      .replaceAll("\n", " ");
    const flag = /^unknown option '([^'=]+)/.exec(text)?.[1];
    const answer = flag === undefined ? undefined : answerFlag(verb, flag);
    const help = `"holdfast ${verb === "" ? "" : `${verb} `}--help" tells more`;
    // It repeats words of the command line.
    complain(`${text}: ${answer ?? help}`);
  }
  return status;
}

function report(error: unknown): number {
  complain(errorText(error));
  if (process.env.HOLDFAST_DEBUG !== undefined && error instanceof Error)
    process.stderr.write(`${printableLines(error.stack ?? "")}\n`);
  return error instanceof Problem ? error.status : FAILED;
}
