// The command line of `holdfast`: puts the verbs together and turns what they throw into a line on stderr and an exit status.
import { Command, CommanderError } from "commander";
import { addCompletion } from "./completion-verb.ts";
import { addDoctor } from "./doctor-verb.ts";
import { addEventVerbs } from "./event-verbs.ts";
import { addInspect } from "./inspect-verb.ts";
import { addListVerbs } from "./list-verbs.ts";
import { errorText, FAILED, Problem, USAGE } from "./problem.ts";
import { addRunVerbs } from "./run-verbs.ts";
import { addShim } from "./shim-verb.ts";
import { addShims } from "./shims-verb.ts";
import { addStatsVerbs } from "./stats-verbs.ts";
import { addTaskVerbs } from "./task-verbs.ts";
import { commonFlags, examples } from "./verb-options.ts";

const VERSION = "0.1.0";

export function buildProgram(): Command {
  const program = new Command("holdfast")
    .description("See and poke containers and their shims, with or without a daemon.")
    .version(VERSION, "-V, --version")
    .enablePositionalOptions()
    .showHelpAfterError("(--help tells more)")
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
  addListVerbs(program);
  addInspect(program);
  addStatsVerbs(program);
  addEventVerbs(program);
  addShims(program);
  addShim(program);
  addDoctor(program);
  addCompletion(program);
  return program;
}

/** Runs a command line (without program name); resolves to the exit status. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  try {
    await buildProgram().parseAsync([...argv], { from: "user" });
    return typeof process.exitCode === "number" ? process.exitCode : 0;
  } catch (error) {
    return report(error);
  }
}

function report(error: unknown): number {
  // Commander has said what is wrong.
  if (error instanceof CommanderError) return error.exitCode <= 1 ? error.exitCode * USAGE : error.exitCode;
  process.stderr.write(`holdfast: ${errorText(error)}\n`);
  if (process.env.HOLDFAST_DEBUG !== undefined && error instanceof Error)
    process.stderr.write(`${error.stack}\n`);
  return error instanceof Problem ? error.status : FAILED;
}
