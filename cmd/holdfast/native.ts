// holdfast as a program by itself: the verbs that are typed most, without Node; for all others it goes on in Node (src/node-parts/go-on.ts).
import "../../src/node-parts/globals.ts";
import { runProgram } from "../../src/cli/program.ts";
import { outputDone, watchOutput } from "../../src/cli/text/output.ts";
import { errorText, FAILED } from "../../src/cli/text/problem.ts";
import { complain } from "../../src/cli/text/screen.ts";
import { goOnInNode } from "../../src/node-parts/go-on.ts";

/** More words than the engine passes to a function. */
const MOST_WORDS = 60_000;
if (process.argv.length > MOST_WORDS) goOnInNode("so many arguments");
watchOutput();

async function main(): Promise<number> {
  const status = await runProgram(process.argv.slice(2));
  await outputDone();
  return status;
}

/** The program for the rest is not there, say. */
function failed(error: unknown): never {
  complain(errorText(error));
  return process.exit(FAILED);
}

// Nothing that is still open shall keep us.
void main().then((status) => process.exit(status), failed);
