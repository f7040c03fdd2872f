// npm run install-host: into a directory of its own, again under a daemon that runs from there, and away again.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { check, Running, run } from "../harness/command.ts";
import { putOnRecord } from "../harness/containers.ts";
import { Daemon } from "../harness/daemon.ts";

const repository = join(import.meta.dirname, "../..");
const directory = realpathSync(mkdtempSync(join(tmpdir(), "holdfast-install-")));
after(() => rmSync(directory, { recursive: true, force: true }));

/** As npm does it: through sh. */
function installHost(...args: readonly string[]): Promise<string> {
  const script = 'exec "$0" --import tsx scripts/install-host.ts --no-build "$@"';
  return check(["sh", "-c", script, process.execPath, ...args], { cwd: repository });
}

function filesBelow(prefix: string): string[] {
  return readdirSync(prefix, { recursive: true, encoding: "utf8" }).sort();
}

const INSTALLED = [
  "bin",
  "bin/containerd-shim-holdfast-v2",
  "bin/holdfast",
  "bin/holdfastd",
  "lib",
  "lib/holdfast",
  "lib/holdfast/containerd-shim-holdfast-v2",
  "lib/holdfast/directories.json",
  "lib/holdfast/help",
  ...readdirSync(join(repository, "dist/help"))
    .sort()
    .map((page) => `lib/holdfast/help/${page}`),
  "lib/holdfast/holdfast",
  "lib/holdfast/holdfast-layer",
  "lib/holdfast/holdfast-node",
  "lib/holdfast/holdfast-node.js",
  "lib/holdfast/holdfast-node.js.cache",
  "lib/holdfast/holdfastd",
  "lib/holdfast/lmdb.node",
  "lib/holdfast/package.json",
  "lib/systemd",
  "lib/systemd/system",
  "lib/systemd/system/holdfastd.service",
];

test("installed once or twice it is the same, it runs, and nothing is left of it afterwards", async () => {
  const prefix = join(directory, "twice");
  await installHost("--prefix", prefix);
  assert.deepEqual(filesBelow(prefix), INSTALLED);
  await installHost("--prefix", prefix);
  assert.deepEqual(filesBelow(prefix), INSTALLED);
  for (const program of ["holdfastd", "holdfast"]) {
    assert.equal((await run([join(prefix, "bin", program), "--version"])).status, 0, program);
    assert.match(
      (await run([join(prefix, "bin", program), "--help"])).stdout,
      new RegExp(`sage: ${program}`),
    );
  }
  assert.equal((await run([join(prefix, "bin/containerd-shim-holdfast-v2"), "-v"])).status, 0);
  // On Node, which is looked for beside it.
  assert.match((await run([join(prefix, "bin/holdfast"), "version"])).stdout, /^holdfast +\d/);
  assert.match((await run([join(prefix, "lib/holdfast/holdfast-layer")])).stderr, /^usage: holdfast-layer/);
  const unit = readFileSync(join(prefix, "lib/systemd/system/holdfastd.service"), "utf8");
  assert.match(unit, new RegExp(`^ExecStart=${prefix}/bin/holdfastd$`, "m"));
  await installHost("--prefix", prefix, "--uninstall");
  assert.equal(existsSync(prefix), false);
  await installHost("--prefix", prefix, "--uninstall");
});

test("a flag that is none is answered with those that are, and nothing is done", async () => {
  const prefix = join(directory, "untouched");
  const argv = [
    process.execPath,
    "--import",
    "tsx",
    "scripts/install-host.ts",
    "--prefix",
    prefix,
    "--forse",
  ];
  const { status, stderr } = await run(argv, { cwd: repository });
  assert.equal(status, 2);
  assert.match(stderr, /^Unknown option '--forse'.*\nnpm run install-host .*--uninstall\]\n$/);
  assert.ok(!existsSync(prefix));
});

test("what somebody else has there stays", async () => {
  const prefix = join(directory, "shared");
  await check(["mkdir", "-p", join(prefix, "bin"), join(prefix, "lib/holdfast/sanitize")]);
  await check(["ln", "-s", "/elsewhere/holdfast", join(prefix, "bin/other")]);
  await installHost("--prefix", prefix);
  assert.equal(existsSync(join(prefix, "lib/holdfast/sanitize")), false, "an older install's is cleaned up");
  await check(["ln", "-sf", "/elsewhere/holdfast", join(prefix, "bin/holdfast")]);
  await installHost("--prefix", prefix, "--uninstall");
  assert.deepEqual(filesBelow(prefix), ["bin", "bin/holdfast", "bin/other", "lib"]);
});

test("a daemon that runs from there runs on while it is installed again, and removed", async () => {
  const prefix = join(directory, "running");
  await installHost("--prefix", prefix);
  const daemon = Daemon.prepare({ kind: "holdfastd" });
  const program = join(prefix, "bin/holdfastd");
  const running = new Running([program, ...daemon.argv.slice(1)], { env: daemon.env, timeoutMs: 3_600_000 });
  try {
    await running.printed(/"msg":"serving"/);
    const client = await daemon.client();
    try {
      await putOnRecord(daemon, client, "before", ["true"]);
      const addon = join(prefix, "lib/holdfast/lmdb.node");
      const { ino } = statSync(addon);
      for (let round = 0; round < 3; round++) {
        await installHost("--prefix", prefix);
        await putOnRecord(daemon, client, `during-${round}`, ["true"]);
      }
      assert.notEqual(statSync(addon).ino, ino);
      await installHost("--prefix", prefix, "--uninstall");
      await putOnRecord(daemon, client, "after", ["true"]);
      const { containers } = await client.containers.list({ filters: [] });
      assert.deepEqual(containers.map(({ id }) => id).sort(), [
        "after",
        "before",
        "during-0",
        "during-1",
        "during-2",
      ]);
    } finally {
      client.close();
    }
    running.kill("SIGTERM");
    assert.equal((await running.exited).status, 0);
    assert.equal(existsSync(prefix), false);
  } finally {
    running.kill();
    await running.exited;
    await daemon.close();
  }
});
