// Runs test files with node's runner: its words go where ours go, and what each test showed is returned.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "../cache.ts";
import { filesToRepeat, parseResults, type TestResult, withRepeated } from "./results.ts";

interface Options {
  /** Files at a time: every test file has its own daemon and directory, and the machine that counts has two cores. */
  readonly atOnce?: number;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Where results are written on the way; a directory that whoever runs the tests can see. */
  readonly scratch?: string;
  /** The command line that runs this one in its place. */
  readonly wrap?: (argv: readonly string[]) => readonly string[];
}

/** A run that failed without a test that did counts as one that failed. */
function runNodeTests(files: readonly string[], options: Options = {}): TestResult[] {
  const { atOnce = 2, env = {}, scratch = tmpdir(), wrap = (argv) => argv } = options;
  const directory = mkdtempSync(join(scratch, "holdfast-results-"));
  try {
    const lines = join(directory, "lines");
    const [program = "", ...args] = wrap([...runner(atOnce, lines), ...files]);
    const { status, signal, error } = spawnSync(program, args, {
      cwd: root,
      stdio: "inherit",
      env: { ...process.env, ...env },
    });
    const results = parseResults(existsSync(lines) ? readFileSync(lines, "utf8") : "");
    if (status === 0 || results.some(({ outcome }) => outcome === "failed")) return results;
    const reason = error?.message ?? `ended with ${signal ?? `exit status ${status}`}`;
    return [...results, { file: files.join(" "), name: "the run itself", outcome: "failed", reason }];
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The same, and once more, by itself, each file in which something failed. What is red has been red twice. */
export function runNodeTestsTwice(files: readonly string[], options: Options = {}): TestResult[] {
  const first = runNodeTests(files, options);
  const again = filesToRepeat(first, files);
  if (again.length === 0) return first;
  console.log(`\n==> once more, by itself: ${again.join(" ")}`);
  return withRepeated(first, again, runNodeTests(again, { ...options, atOnce: 1 }));
}

function runner(atOnce: number, lines: string): string[] {
  const reporters = [
    ["spec", "stdout"],
    ["./scripts/results/reporter.mjs", lines],
  ].flatMap(([reporter, destination]) => [
    `--test-reporter=${reporter}`,
    `--test-reporter-destination=${destination}`,
  ]);
  const limits = [`--test-concurrency=${atOnce}`, "--test-timeout=300000"];
  return ["node", "--import", "tsx", "--test", ...limits, ...reporters];
}
