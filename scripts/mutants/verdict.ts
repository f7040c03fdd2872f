// Runs a mutant's tests and tells a test that failed from one that ran out of time. Called by main.ts.
import { spawn } from "node:child_process";
import type { Mutant } from "../../test/mutants/mutant.ts";
import type { Tree } from "./tree.ts";

/** One test, on a machine that has other work too. */
const TEST_TIMEOUT_MS = 150_000;
/** A whole file, which may fall silent outside of its tests. */
const FILE_TIMEOUT_MS = 600_000;

export type Outcome = "passed" | "failed" | "out of time";

/** What the runner calls a test that was given up rather than answered. */
const GIVEN_UP = /failureType: '(testTimeoutFailure|cancelledByParent|subtestsFailed)'/;

export async function runTests(tree: Tree, test: string, { name, env }: Mutant): Promise<Outcome> {
  const pattern = name === undefined ? [] : [`--test-name-pattern=${escaped(name)}`];
  const runner = ["--import", "tsx", "--test", "--test-reporter=tap", `--test-timeout=${TEST_TIMEOUT_MS}`];
  const { status, output, late } = await run(tree, [...runner, ...pattern, test], { ...process.env, ...env });
  tree.sweep();
  if (status === 0) return "passed";
  const failures = output.match(/failureType: '\w+'/g) ?? [];
  return !late && (failures.length === 0 || failures.some((failure) => !GIVEN_UP.test(failure)))
    ? "failed"
    : "out of time";
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");

interface Run {
  readonly status: number | null;
  readonly output: string;
  readonly late: boolean;
}

function run(tree: Tree, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Run> {
  return new Promise((resolve) => {
    // A process group of its own, so that what a test that hangs has started ends with it.
    const child = spawn("node", args, {
      cwd: tree.path,
      env,
      detached: true,
      stdio: ["ignore", "pipe", "ignore"],
    });
    let output = "";
    let late = false;
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    const timer = setTimeout(() => {
      late = true;
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    }, FILE_TIMEOUT_MS);
    child.on("exit", (status) => {
      clearTimeout(timer);
      child.stdout.destroy();
      resolve({ status, output, late });
    });
  });
}
