// holdfast: the command line. argv → a verb of src/cli.
import { runProgram } from "../../src/cli/program.ts";
import { outputDone, watchOutput } from "../../src/cli/text/output.ts";
import { errorText } from "../../src/cli/text/problem.ts";
import { nameProcess, userArguments } from "../../src/platform/node-launch.ts";

const SIGUSR1 = 10;
const USAGE = 2;

// Node would open its debugger; it ends us as any program. Who passes it on to a container has a listener of its own.
process.on("SIGUSR1", () => {
  if (process.listenerCount("SIGUSR1") === 1) process.exit(128 + SIGUSR1);
});
watchOutput();

async function main(): Promise<number> {
  let words: string[];
  try {
    words = userArguments();
  } catch (error) {
    process.stderr.write(`holdfast: ${errorText(error)}\n`);
    return USAGE;
  }
  nameProcess("holdfast", words);
  const status = await runProgram(words);
  await outputDone();
  return status;
}

// Nothing that is still open shall keep us.
void main().then((status) => process.exit(status));
