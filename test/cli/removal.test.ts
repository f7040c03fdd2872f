// `run --rm`: the container is gone after its end, whatever becomes of the client: killed, detached, without its terminal, without anybody who reads.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { CLIENT_LABEL } from "../../src/api/labels.ts";
import { processIdentity } from "../../src/platform/node-process.ts";
import { eventually } from "../harness/eventually.ts";
import { RuncGate } from "../harness/gate.ts";
import { allPids, processInfo } from "../harness/processes.ts";
import { isHoldfastd } from "../harness/runtime.ts";
import { onDaemon } from "./cli.ts";

const directory = realpathSync(mkdtempSync(join(tmpdir(), "holdfast-removal-")));
const gate = new RuncGate(directory);
const { daemon, cli } = await onDaemon({ pathDirectories: [gate.directory] });
after(() => rmSync(directory, { recursive: true, force: true }));

function args(name: string, ...rest: string[]): string[] {
  daemon.ctr.ids.add(name);
  return ["run", "--rm", "--name", name, "--rootfs", daemon.rootfs, ...rest];
}

/** The command of a container that ends when it is let go. */
function waiting(name: string): string[] {
  return ["--", "sh", "-c", `echo up; until [ -e /tmp/${name}-go ]; do sleep 0.05; done; exit 7`];
}

async function listed(): Promise<string[]> {
  return (await cli.do(["ps", "-aq"])).split("\n").filter((line) => line !== "");
}

async function goneAfterEnd(name: string): Promise<void> {
  assert.deepEqual(await listed(), [name]);
  await daemon.touch(`${name}-go`);
  await eventually("the deletion", async () => (await listed()).length === 0);
  assert.equal(await daemon.leftovers(), "");
}

/** Processes that mention the container beside its shim and its own. */
function attendants(name: string): { executable: string; commandLine: string }[] {
  return allPids()
    .map((pid) => processInfo(pid))
    .filter((info) => info !== undefined)
    .filter(({ commandLine }) => commandLine.includes(daemon.address) && commandLine.includes(name))
    .filter(({ executable }) => !executable.startsWith("containerd-shim"));
}

test("the client is killed", async () => {
  const running = cli.spawn(args("killed", ...waiting("killed")));
  await running.printed(/up/);
  running.kill("SIGKILL");
  await running.exited;
  await goneAfterEnd("killed");
});

test("the client is killed, and the daemon is too", async () => {
  const running = cli.spawn(args("both", ...waiting("both")));
  await running.printed(/up/);
  running.kill("SIGKILL");
  await running.exited;
  await daemon.crashAndRestart();
  await goneAfterEnd("both");
});

/** Stands in for the watcher's shell: the client is killed as soon as it is run, or has been told of the task. */
const KILLERS: Readonly<Record<string, string>> = {
  "before there is a task": 'kill -KILL $PPID; exec /bin/sh "$@"',
  "before its task is started": 'read -r pid; kill -KILL $PPID; { echo "$pid"; exec cat; } | /bin/sh "$@"',
};
for (const [when, script] of Object.entries(KILLERS)) {
  test(`the client is killed ${when}`, {
    skip: isHoldfastd && "holdfastd looks after it: test/manager/causes.test.ts",
  }, async () => {
    const directory = mkdtempSync(join(cli.directory, "sh-"));
    writeFileSync(join(directory, "sh"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const env = { PATH: `${directory}:${process.env.PATH}` };
    // Once it is started nobody's death ends it.
    gate.hold("start");
    const running = cli.spawn(args("early", "-d", "--", "sleep", "1000"), { env });
    assert.equal((await running.exited).status, 137);
    gate.release("start");
    await eventually("the deletion", async () => (await listed()).length === 0);
    assert.equal(await daemon.leftovers(), "");
  });
}

test("a container that somebody is starting is deleted by force", async () => {
  daemon.ctr.ids.add("starting");
  await cli.do(["create", "--name", "starting", "--rootfs", daemon.rootfs, "--", "sleep", "1000"]);
  gate.hold("start");
  const starting = cli.spawn(["start", "starting"]);
  await gate.held("start");
  const deleting = cli.spawn(["delete", "-f", "starting"]);
  // Refused at first: whoever gives up then has ended by now.
  await Promise.race([deleting.exited, sleep(1000)]);
  gate.release("start");
  assert.equal((await deleting.exited).status, 0);
  await starting.exited;
  assert.deepEqual(await listed(), []);
  assert.equal(await daemon.leftovers(), "");
});

test("the record says whose it is until the start", async () => {
  const running = cli.spawn(args("whose", ...waiting("whose")));
  await running.printed(/up/);
  const [{ labels }] = (await cli.json(["inspect", "whose"])) as [{ labels: Record<string, string> }];
  assert.equal(labels[CLIENT_LABEL], processIdentity(running.pid));
  running.kill("SIGKILL");
  await running.exited;
  await goneAfterEnd("whose");
});

test("the user detaches", async () => {
  const terminal = cli.terminal(args("detached", "-it", ...waiting("detached")));
  await terminal.shows(/up/);
  terminal.type("\x10\x11");
  assert.equal((await terminal.exited).status, 0);
  await goneAfterEnd("detached");
});

test("the terminal is closed", async () => {
  const terminal = cli.terminal(args("closed", "-it", ...waiting("closed")));
  await terminal.shows(/up/);
  terminal.kill();
  await terminal.exited;
  await goneAfterEnd("closed");
});

test("run -d leaves no Node behind, and with holdfastd nothing at all", async () => {
  await cli.do(args("behind", "-d", ...waiting("behind")));
  const left = attendants("behind");
  assert.deepEqual(
    left.map(({ executable }) => executable).filter((each) => each === "node"),
    [],
  );
  if (isHoldfastd) assert.deepEqual(left, []);
  await goneAfterEnd("behind");
});

test("run in front leaves nothing behind when the container has ended", async () => {
  // Its watcher would wait for the end with this, and then delete what has the id by now.
  const directory = join(cli.directory, "tail");
  mkdirSync(directory);
  writeFileSync(join(directory, "tail"), `#!/bin/sh\n>${directory}/called\n`, { mode: 0o755 });
  const env = { PATH: `${directory}:${process.env.PATH}` };
  assert.equal((await cli.run(args("front", "--", "sh", "-c", "exit 7"), { env })).status, 7);
  await eventually("its watcher to go", () => attendants("front").length === 0);
  assert.equal(existsSync(join(directory, "called")), false);
  assert.deepEqual(await listed(), []);
});

test("nobody reads any more: the container ends, as a program in a pipe does", async () => {
  const line = args("piped", "--", "yes").map((word) => `'${word}'`);
  const running = cli.shell(`$H ${line.join(" ")} | head -1; echo "\${PIPESTATUS[0]}"`);
  assert.deepEqual(await running.exited, { status: 0, stdout: "y\n141\n", stderr: "" });
  assert.deepEqual(await listed(), []);
  assert.equal(await daemon.leftovers(), "");
});

test("nobody reads the errors any more: the same", async () => {
  const line = args("piped-errors", "--", "sh", "-c", "trap '' PIPE; while :; do echo error >&2; done").map(
    (word) => `"${word}"`,
  );
  const running = cli.shell(
    `{ $H ${line.join(" ")} 2>&1 >&3 | head -1; } 3>/dev/null; echo "\${PIPESTATUS[0]}"`,
  );
  assert.match((await running.exited).stdout, /^error\n/);
  assert.deepEqual(await listed(), []);
});

test("output to a full disk: said in a line, and nothing is left", async () => {
  const line = args("full", "--", "sh", "-c", "while :; do echo much; done").map((word) => `'${word}'`);
  const { status, stdout, stderr } = await cli.shell(`$H ${line.join(" ")} >/dev/full`).exited;
  assert.deepEqual(
    [status, stdout, stderr],
    [1, "", "holdfast: cannot write the output: no space left on device\n"],
  );
  assert.deepEqual(await listed(), []);
  assert.equal(await daemon.leftovers(), "");
});

test("exec into a pipe that nobody reads ends the exec, and attach leaves the container alone", async () => {
  daemon.ctr.ids.add("host");
  const running = cli.spawn(
    [
      "run",
      "--name",
      "host",
      "--rootfs",
      daemon.rootfs,
      "--",
      "sh",
      "-c",
      "until [ -e /tmp/host-yes ]; do sleep 0.05; done; yes",
    ],
    { rawStdout: true },
  );
  await eventually("the container", async () => (await cli.do(["ps", "-q"])).includes("host"));
  const exec = await cli.shell(`$H exec host yes | head -1; echo "\${PIPESTATUS[0]}"`).exited;
  assert.equal(exec.stdout, "y\n141\n");
  assert.doesNotMatch((await cli.run(["exec", "host", "ps"])).stdout, /0 +yes$/m);
  running.kill("SIGKILL");
  await running.exited;
  const attach = cli.shell(`$H attach --no-stdin host | head -1; echo "\${PIPESTATUS[0]}"`);
  await daemon.touch("host-yes");
  assert.match((await attach.exited).stdout, /^y\n141\n/);
  assert.equal((await daemon.ctr.task("host")).status, "RUNNING");
  await cli.do(["delete", "-f", "host"]);
});
