// npm test, once the machine is set up: checks, builds, then runs every test. Ends with 1 if anything failed.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");

interface Step {
  readonly what: string;
  readonly command: readonly string[];
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

/** Two files at a time: every test file has its own daemon and directory, and the machine that counts has two cores. */
function nodeTest(files: readonly string[]): string[] {
  const runner = ["node", "--import", "tsx", "--test", "--test-concurrency=2", "--test-timeout=300000"];
  return [...runner, "--test-reporter=spec", ...files];
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
    command: nodeTest(
      testFiles(
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
    ),
  },
  { what: "Testing the shim behind a real containerd", command: nodeTest(testFiles("e2e")) },
  { what: "Testing shims and keepers that are killed, and upgrades", command: nodeTest(testFiles("keeper")) },
  { what: "Testing what has gone wrong elsewhere", command: nodeTest(testFiles("failures")) },
  { what: "Running each campaign for a short while", command: nodeTest(testFiles("campaigns")) },
  { what: "Running each fuzzer for a short while", command: nodeTest(testFiles("fuzz")) },
  { what: "Testing the sanitizer build straight by its socket", command: nodeTest(direct), env: sanitizer },
  { what: "Testing holdfastd", command: nodeTest(testFiles("manager", "images")) },
  { what: "Testing pulls and pushes with a real registry", command: nodeTest(testFiles("registry")) },
  {
    what: "Testing the shim behind holdfastd",
    command: nodeTest(throughDaemon),
    env: onHoldfastd,
  },
  {
    what: "Testing Debian's shim behind holdfastd",
    command: nodeTest(essentials),
    env: { ...onHoldfastd, ...goShim },
  },
  { what: "Testing Docker on holdfastd and on containerd", command: nodeTest(testFiles("docker")) },
  {
    what: "Testing the shim in a kubelet's hands, the pages' code blocks, other runtimes",
    command: nodeTest(testFiles("cri", "docs", "runtimes", "vm")),
  },
  {
    what: "Testing the shim behind a newer containerd (npm run test:matrix has them all)",
    command: ["node", "--import", "tsx", "scripts/matrix/main.ts", "--short"],
  },
  { what: "Testing holdfast against containerd", command: nodeTest(testFiles("cli")) },
  { what: "Testing holdfast against holdfastd", command: nodeTest(testFiles("cli")), env: onHoldfastd },
];

let failed = 0;
for (const { what, command, env } of steps) {
  console.log(`\n==> ${what}`);
  const [program = "", ...args] = command;
  const { status } = spawnSync(program, args, {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, ...env },
  });
  if (status !== 0) {
    console.log(`==> FAILED: ${what}`);
    failed++;
  }
}
console.log(`\nsteps: ${steps.length - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
