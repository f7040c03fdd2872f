// npm test, once the machine is set up: checks, builds, then runs every test. Ends with 1 if anything failed. A file in which something fails is run once
// more, by itself; what passes then is listed at the end all the same, with its error: it is a race that somebody has to mend.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { root } from "./cache.ts";
import { runNodeTestsTwice } from "./results/node-test.ts";
import type { TestResult } from "./results/results.ts";

interface Step {
  readonly what: string;
  /** A command of its own, or test files. */
  readonly command?: readonly string[];
  readonly files?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

function testFiles(...directories: string[]): string[] {
  return directories
    .map((directory) => join("test", directory))
    .filter((directory) => existsSync(join(root, directory)))
    .flatMap((directory) =>
      readdirSync(join(root, directory), { recursive: true, encoding: "utf8" })
        .filter((name) => name.endsWith(".test.ts"))
        .map((name) => join(directory, name)),
    )
    .sort();
}

const build = ["node", "--import", "tsx", "scripts/build.ts"];
const sanitizer = {
  HOLDFAST_TEST_SHIM: join(root, "dist/sanitize/containerd-shim-holdfast-v2"),
  HOLDFAST_TEST_SANITIZER: "1",
};

const onHoldfastd = { HOLDFAST_TEST_DAEMON: "holdfastd" };
const goShim = { HOLDFAST_TEST_RUNTIME: "io.containerd.runc.v2" };
/** Those that drive the shim by themselves; the others go through a daemon. */
const direct = testFiles("e2e").filter((file) => basename(file).startsWith("direct-"));
const throughDaemon = [
  ...testFiles("e2e").filter((file) => !direct.includes(file)),
  ...testFiles("failures").filter((file) =>
    /harness\/daemon\.ts"/.test(readFileSync(join(root, file), "utf8")),
  ),
];
/** What any daemon must do with any shim. */
const essentials = ["lifecycle", "restart", "shim-killed", "stdio"].map((name) => `test/e2e/${name}.test.ts`);

const steps: readonly Step[] = [
  { what: "Building", command: build },
  { what: "Building with sanitizers", command: [...build, "--sanitize"] },
  {
    what: "Checking types, lint, format, generated files",
    command: ["node", "--import", "tsx", "scripts/check.ts"],
  },
  {
    what: "Building and showing with the listed packages' programs alone",
    command: ["node", "--import", "tsx", "scripts/bare-path.ts"],
  },
  {
    what: "Testing the parts",
    files: testFiles(
      "api",
      "cgroup",
      "ttrpc",
      "runc",
      "task",
      "reaper",
      "events",
      "shim",
      "native",
      "scripts",
      "stdio",
    ),
  },
  { what: "Testing the shim behind a real containerd", files: testFiles("e2e") },
  { what: "Testing shims and keepers that are killed, and upgrades", files: testFiles("keeper") },
  { what: "Testing what has gone wrong elsewhere", files: testFiles("failures") },
  { what: "Running each campaign for a short while", files: testFiles("campaigns") },
  { what: "Running each fuzzer for a short while", files: testFiles("fuzz") },
  { what: "Testing the sanitizer build straight by its socket", files: direct, env: sanitizer },
  { what: "Testing holdfastd", files: testFiles("manager", "images") },
  { what: "Testing pulls and pushes with a real registry", files: testFiles("registry") },
  {
    what: "Testing the shim behind holdfastd",
    files: throughDaemon,
    env: onHoldfastd,
  },
  {
    what: "Testing Debian's shim behind holdfastd",
    files: essentials,
    env: { ...onHoldfastd, ...goShim },
  },
  { what: "Testing Docker on holdfastd and on containerd", files: testFiles("docker") },
  {
    what: "Testing the shim in a kubelet's hands, the pages' code blocks, other runtimes",
    files: testFiles("cri", "docs", "runtimes", "vm"),
  },
  {
    what: "Testing the shim behind a newer containerd (npm run test:matrix has them all)",
    command: ["node", "--import", "tsx", "scripts/matrix/main.ts", "--short"],
  },
  { what: "Testing holdfast against containerd", files: testFiles("cli") },
  { what: "Testing holdfast against holdfastd", files: testFiles("cli"), env: onHoldfastd },
];

interface Outcome {
  readonly passed: boolean;
  /** Tests that failed, or passed only when run once more. */
  readonly reds: readonly TestResult[];
}

function runCommand([program = "", ...args]: readonly string[]): Outcome {
  const { status } = spawnSync(program, args, { cwd: root, stdio: "inherit" });
  return { passed: status === 0, reds: [] };
}

function runFiles(files: readonly string[], env: Step["env"] = {}): Outcome {
  const results = runNodeTestsTwice(files, { env });
  const reds = results.filter((result) => result.outcome === "failed" || result.again === true);
  return { passed: reds.every(({ outcome }) => outcome === "passed"), reds };
}

function describe({ file, name, outcome, error, reason }: TestResult): string {
  const what = outcome === "failed" ? "FAILED" : "passed only when run once more";
  return `\n${what}: ${file}: ${name}\n${error ?? reason}`;
}

let failed = 0;
const reds: string[] = [];
for (const { what, command, files, env } of steps) {
  console.log(`\n==> ${what}`);
  const outcome = command === undefined ? runFiles(files ?? [], env) : runCommand(command);
  if (outcome.reds.length > 0) reds.push(`\n==> ${what}`, ...outcome.reds.map(describe));
  if (outcome.passed) continue;
  console.log(`==> FAILED: ${what}`);
  reds.push(`==> FAILED: ${what}`);
  failed++;
}
// At the very end, where whoever sees no more than the end of the output sees it.
if (reds.length > 0) console.log(`\n${reds.join("\n")}`);
console.log(`\nsteps: ${steps.length - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
