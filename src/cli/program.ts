// The command line of `holdfast`: puts the verbs together and turns what they throw into a line on stderr and an exit status.
import { Command, CommanderError } from "commander";
import { VERSION } from "../api/version.ts";
import { printableLines } from "./text/printable.ts";
import { errorText, FAILED, Problem, USAGE } from "./text/problem.ts";
import { complain } from "./text/screen.ts";
import { addCompletion } from "./verbs/completion.ts";
import { addDoctor } from "./verbs/doctor.ts";
import { addEventVerbs } from "./verbs/events.ts";
import { addImageVerbs } from "./verbs/images.ts";
import { addInspect } from "./verbs/inspect.ts";
import { addListVerbs } from "./verbs/list.ts";
import { commonFlags, examples } from "./verbs/options.ts";
import { addRunVerbs } from "./verbs/run.ts";
import { addShim } from "./verbs/shim.ts";
import { addShims } from "./verbs/shims.ts";
import { addStatsVerbs } from "./verbs/stats.ts";
import { addStopVerbs } from "./verbs/stop.ts";
import { addTaskVerbs } from "./verbs/task.ts";
import { answerUnknown } from "./verbs/unknown.ts";
import { addVersion } from "./verbs/version.ts";
import { addWait } from "./verbs/wait.ts";

export function buildProgram(): Command {
  const program = new Command("holdfast")
    .description("See and poke containers and their shims, with or without a daemon.")
    .version(VERSION, "-V, --version")
    .enablePositionalOptions()
    .showHelpAfterError("(--help tells more)")
    // It repeats words of the command line.
    .configureOutput({ writeErr: (text) => void process.stderr.write(printableLines(text)) })
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
  addInspect(program);
  addStatsVerbs(program);
  addEventVerbs(program);
  addShims(program);
  addShim(program);
  addDoctor(program);
  addCompletion(program);
  addVersion(program);
  answerUnknown(program);
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
  complain(errorText(error));
  if (process.env.HOLDFAST_DEBUG !== undefined && error instanceof Error)
    process.stderr.write(`${printableLines(error.stack ?? "")}\n`);
  return error instanceof Problem ? error.status : FAILED;
}
