// The command line of `holdfast`: puts the verbs together and turns what they throw into a line on stderr and an exit status.
import { Command, CommanderError, type OutputConfiguration } from "commander";
import { VERSION } from "../api/version.ts";
import { printableLines } from "./text/printable.ts";
import { errorText, FAILED, Problem, USAGE } from "./text/problem.ts";
import { complain, complainInJson } from "./text/screen.ts";
import { addVerbs, VERBS } from "./verbs/groups.ts";
import { commonFlags, examples } from "./verbs/options.ts";
import { answerFlag, answerUnknown } from "./verbs/unknown.ts";

const NAME = "holdfast";
/** As everywhere else where text is made for somebody who is not there; a page that is kept as text cannot know the terminal. */
const HELP_WIDTH = 80;

/** Where commander writes: what was asked for, and what is wrong before an error is thrown. */
type Output = Required<Pick<OutputConfiguration, "writeOut" | "writeErr">>;

/** As far as a command line needs it. */
async function buildProgram(argv: readonly string[], output: Output): Promise<Command> {
  const program = new Command(NAME)
    .description("See and poke containers and their shims, with or without a daemon.")
    .version(VERSION, "-V, --version")
    .enablePositionalOptions()
    .configureOutput({ ...output, getOutHelpWidth: () => HELP_WIDTH, getErrHelpWidth: () => HELP_WIDTH })
    .exitOverride();
  commonFlags(program);
  examples(
    program,
    ["holdfast shims", "every shim on this host; no daemon needed"],
    ["holdfast run --rm -it --rootfs ./rootfs sh", "a shell in a container"],
    ["holdfast ps", "the containers of the daemon"],
  );
  await addVerbs(program, argv);
  answerUnknown(program, VERBS);
  return program;
}

/** Runs a command line (without program name); resolves to the exit status. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  const json = asksForJson(argv);
  complainInJson(json);
  let wrong = "";
  const program = await buildProgram(argv, {
    writeOut: (text) => void process.stdout.write(text),
    writeErr: (text) => {
      wrong += text;
    },
  });
  try {
    await program.parseAsync([...argv], { from: "user" });
    return typeof process.exitCode === "number" ? process.exitCode : 0;
  } catch (error) {
    return error instanceof CommanderError ? misused(error, wrong, verbOf(argv), json) : report(error);
  }
}

/**
 * What --help says, of `holdfast` under its name in capitals and of every verb under each of its own. They are kept beside the program (scripts/node-programs.ts), so
 * that nobody waits for Node to read one.
 */
export async function helpPages(): Promise<ReadonlyMap<string, string>> {
  let text = "";
  const write = (more: string): void => {
    text += more;
  };
  const program = await buildProgram(["help"], { writeOut: write, writeErr: write });
  const pages = new Map<string, string>();
  for (const command of [program, ...program.commands]) {
    text = "";
    command.outputHelp();
    const names = command === program ? [NAME.toUpperCase()] : [command.name(), ...command.aliases()];
    for (const name of names) pages.set(name, text);
  }
  // It says more, and makes that when it is asked.
  pages.delete("shim");
  return pages;
}

/** As far as it can be told of a command line that makes no sense: whatever follows "--" is a container's. */
function asksForJson(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return (end < 0 ? argv : argv.slice(0, end)).includes("--json");
}

/** The verb of a command line that makes no sense; "" if it has none. */
function verbOf(argv: readonly string[]): string {
  return argv.find((word) => VERBS.includes(word)) ?? "";
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
    process.stderr.write(`${printableLines(stackOf(error))}\n`);
  return error instanceof Problem ? error.status : FAILED;
}

/** With what the error says: not every engine begins with that. */
function stackOf(error: Error): string {
  const { stack = "" } = error;
  return stack.startsWith(error.name) ? stack : `${String(error)}\n${stack}`;
}
