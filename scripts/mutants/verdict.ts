// Runs a mutant's tests and tells a test that failed from one that ran out of time. Called by main.ts.
import { spawn } from "node:child_process";
import type { Mutant } from "../../test/mutants/mutant.ts";
import type { Tree } from "./tree.ts";

/** How long the tests that are named may take, in ms, on a machine that has other work too. */
const NAMED_TIMEOUT = 180_000;
/** How long a whole file may take, in ms. */
const FILE_TIMEOUT = 600_000;

/** Much of what a fault does shows as something that never comes: how long tests wait for it, as a share of what they do otherwise. */
const PATIENCE = "0.4";

/** "waited in vain" is a failure too, if it is not the machine's: other work may have kept it from what the test waited for. */
export type Outcome = "passed" | "failed" | "waited in vain" | "out of time" | "ran nothing";

/** How long a file may go on after a failure that is one, in ms: it cleans up, unless what has failed keeps it from its end. */
const FAILED_TIMEOUT = 60_000;

/** What the runner calls a test that was given up rather than answered, and what holds such a test. */
const GIVEN_UP = /failureType: '(testTimeoutFailure|cancelledByParent|subtestsFailed)'/;

/** What tests say that have waited for something as long as they may. */
const WAITED = /\bin vain\b|\bwithin \d+ ms\b|deadline.?exceeded/i;

/** Runs the tests of a file with one of `names` in their titles; all of them if there is no name. */
export async function runTests(
  tree: Tree,
  file: string,
  names: readonly string[],
  env: Mutant["env"],
): Promise<Outcome> {
  const patterns = names.map((name) => `--test-name-pattern=${escaped(name)}`);
  const limit = names.length === 0 ? FILE_TIMEOUT : Math.min(FILE_TIMEOUT, NAMED_TIMEOUT * names.length);
  // Without --test: the file's own process is enough, and starts in half the time.
  const args = ["--import", "tsx", "--test-reporter=tap", ...patterns, file];
  const { status, output, late } = await run(
    tree,
    args,
    { HOLDFAST_TEST_PATIENCE: PATIENCE, ...process.env, ...env, ...tree.environment },
    limit,
  );
  tree.sweep();
  const answered = failures(output);
  if (answered.length > 0) return answered.every((text) => WAITED.test(text)) ? "waited in vain" : "failed";
  if (late || FAILURE.test(output)) return "out of time";
  if (status === 0) return /^# pass [1-9]/m.test(output) ? "passed" : "ran nothing";
  return "failed";
}

const FAILURE = /failureType: '\w+'/;

/** What is said of each test that was answered with a failure. */
function failures(output: string): string[] {
  const said = output.split(/^\s*not ok \d+/m).slice(1);
  return said.filter((text) => FAILURE.test(text) && !GIVEN_UP.test(text));
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");

interface Run {
  readonly status: number | null;
  readonly output: string;
  readonly late: boolean;
}

function run(tree: Tree, args: readonly string[], env: NodeJS.ProcessEnv, limit: number): Promise<Run> {
  return new Promise((resolve) => {
    const child = spawn("node", args, { cwd: tree.path, env, stdio: ["ignore", "pipe", "ignore"] });
    let output = "";
    let late = false;
    let lastWait: NodeJS.Timeout | undefined;
    const giveUp = (): void => {
      late = true;
      child.kill("SIGKILL");
    };
    const timer = setTimeout(giveUp, limit);
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      if (failures(output).length > 0) lastWait ??= setTimeout(giveUp, FAILED_TIMEOUT);
    });
    child.on("exit", (status) => {
      clearTimeout(timer);
      clearTimeout(lastWait);
      // A process that the test has left behind may hold the pipe.
      setTimeout(() => {
        child.stdout.destroy();
        resolve({ status, output, late });
      }, 50);
    });
  });
}
