// Being in front of a process at its edges: signals before it runs, sizes one after the other, output after its end, input that nobody reads yet.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { Fifos } from "../../src/cli/session/fifos.ts";
import { Running } from "../harness/command.ts";
import { eventually } from "../harness/eventually.ts";
import { RuncGate } from "../harness/gate.ts";
import { allPids, catches, processInfo } from "../harness/processes.ts";
import { Terminal } from "../harness/terminal.ts";
import { onDaemon } from "./cli.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-session-"));
const gate = new RuncGate(directory);
after(() => gate.releaseAll());
const { daemon, cli } = await onDaemon({ pathDirectories: [gate.directory] });
after(() => rmSync(directory, { recursive: true }));

const DRIVER = [process.execPath, "--import", "tsx", join(import.meta.dirname, "session-driver.ts")];
const env = { HOLDFAST_FIFOS: join(directory, "fifos") };

async function driven(): Promise<Running> {
  const driver = new Running(DRIVER, { stdin: "pipe", env });
  await driver.printed(/stands\n/);
  return driver;
}

test("fifos are for their owner only, whatever the mask says", async () => {
  process.env.HOLDFAST_FIFOS = join(directory, "modes");
  const mask = process.umask(0);
  try {
    const fifos = await Fifos.create({ stdin: true, terminal: false });
    const mode = (path: string): string => (statSync(path).mode & 0o7777).toString(8);
    for (const path of [fifos.paths.stdin, fifos.paths.stdout, fifos.paths.stderr])
      assert.equal(mode(path), "600");
    const own = dirname(fifos.paths.stdout);
    assert.deepEqual([mode(own), mode(dirname(own))], ["700", "700"]);
    fifos.close();
    Fifos.remove(fifos.paths);
    assert.equal(statSync(own, { throwIfNoEntry: false }), undefined);
  } finally {
    process.umask(mask);
    delete process.env.HOLDFAST_FIFOS;
  }
});

test("fifos of clients that were killed are swept, those that somebody reads are not", async () => {
  process.env.HOLDFAST_FIFOS = join(directory, "swept");
  try {
    const [left, read, young] = [await madeFifos(), await madeFifos(), await madeFifos()];
    left.close();
    young.close();
    const { check } = await import("../harness/command.ts");
    for (const fifos of [left, read]) await check(["touch", "-d", "1 hour ago", dirname(fifos.paths.stdout)]);
    (await madeFifos()).close();
    const isThere = (fifos: Fifos): boolean =>
      statSync(fifos.paths.stdout, { throwIfNoEntry: false }) !== undefined;
    assert.deepEqual([left, read, young].map(isThere), [false, true, true]);
    read.close();
  } finally {
    delete process.env.HOLDFAST_FIFOS;
  }
});

function madeFifos(): Promise<Fifos> {
  return Fifos.create({ stdin: false, terminal: true });
}

test("signals that come before the process runs are passed on once it does, in their order", async () => {
  const driver = await driven();
  driver.kill("SIGUSR1");
  await eventually("the signal", () => pendingIsEmpty(driver.pid));
  driver.kill("SIGTERM");
  driver.stdin.write("write x\n");
  await driver.printed(/done write/);
  assert.doesNotMatch(driver.stderrText, /kill/);
  driver.stdin.write("begin\n");
  await driver.printed(/kill 10\n(done begin\n)?kill 15\n/);
  driver.stdin.write("close\nexit 0\n");
  await driver.exited;
});

/** Whether the process has taken all its signals. */
function pendingIsEmpty(pid: number): boolean {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return /^ShdPnd:\t0+$/m.test(status) && /^SigPnd:\t0+$/m.test(status);
}

test("a signal while the runtime starts the container reaches the container", async () => {
  daemon.ctr.ids.add("early");
  gate.linger("start");
  const script = "trap 'exit 6' TERM; while :; do sleep 0.05; done";
  const running = cli.spawn([
    "run",
    "--rm",
    "--name",
    "early",
    "--rootfs",
    daemon.rootfs,
    "--",
    "sh",
    "-c",
    script,
  ]);
  await gate.held("start");
  const pid = Number(readFileSync(join(daemon.bundle("early"), "init.pid"), "utf8"));
  await eventually("the trap", () => catches(pid, 15));
  running.kill("SIGTERM");
  await eventually("the signal", () => pendingIsEmpty(running.pid));
  gate.release("start");
  assert.equal((await running.exited).status, 6);
});

test("sizes are told one after the other, and the last one last", async () => {
  const terminal = Terminal.run([...DRIVER, "terminal"], { rows: 20, columns: 80 }, { env });
  await terminal.shows(/stands/);
  terminal.type("begin\r");
  await terminal.shows(/resize 80x20 begins/);
  for (const [index, columns] of [81, 82, 83].entries()) {
    await terminal.resize({ rows: 20, columns });
    await terminal.shows(new RegExp(`(SIGWINCH[^]*){${index + 1}}`));
  }
  terminal.type("answer\r");
  // The last size may be told twice, as one signal can stand for two; none is still under way then.
  await terminal.shows(/resize 83x20 ends(?![\s\S]*begins)/);
  const lines = [...terminal.screen.matchAll(/resize (\d+x\d+) (begins|ends)/g)].map(
    ([, size, what]) => `${size} ${what}`,
  );
  for (const [index, line] of lines.entries()) {
    if (line.endsWith("begins"))
      assert.equal(lines[index + 1], line.replace("begins", "ends"), lines.join(", "));
  }
  terminal.type("close\rexit 0\r");
  await terminal.exited;
});

test("output that comes after the end of the process is taken until its end", async () => {
  const driver = await driven();
  driver.stdin.write("begin\nwrite before \nexit 3\n");
  await driver.printed(/done exit/);
  driver.stdin.write("write after\nclose\n");
  const { stdout, stderr } = await driver.exited;
  assert.equal(stdout, "before after");
  assert.match(stderr, /outcome \{"status":3\}/);
});

test("a process whose output nobody wants is killed until it ends, also when a kill fails", async () => {
  const driver = new Running(DRIVER, { stdin: "pipe", env, rawStdout: true });
  driver.stdout.destroy();
  await driver.printed(/stands\n/);
  driver.stdin.write("begin\nrefuse 3\nwrite nobody reads this\n");
  await driver.printed(/kill 13\n(.*\n)*kill 9\n(.*\n)*kill 9\n(.*\n)*kill 9\n/);
  driver.stdin.write("close\nexit 137\n");
  assert.match((await driver.exited).stderr, /outcome \{"status":141\}/);
});

test("output that never ends is not waited for for ever", async () => {
  const driver = await driven();
  driver.stdin.write("begin\nwrite all\nexit 4\n");
  const { stdout, stderr } = await driver.exited;
  assert.equal(stdout, "all");
  assert.match(stderr, /outcome \{"status":4\}/);
});

test("input that the container does not read yet stays with who has it, not in holdfast", async () => {
  daemon.ctr.ids.add("slow");
  const script =
    "until [ -e /tmp/slow-go ]; do sleep 0.05; done; wc -c; until [ -e /tmp/slow-end ]; do sleep 0.05; done";
  const line = `run -i --name slow --rootfs ${daemon.rootfs} -- sh -c`;
  const running = cli.shell(`head -c 400M /dev/zero | { exec $H ${line} '${script}'; }`);
  await eventually("the container", async () => (await cli.do(["ps", "-q"])).includes("slow"));
  const pid = await eventually("holdfast", () => holdfastPid("slow"));
  const memory = (): number =>
    Number(/^VmHWM:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
  // It takes what it will; 400 MB are taken in less than a second by one that does not wait.
  let before = -1;
  await eventually("it to take no more", async () => {
    const now = ioOf(pid);
    const settled = now > 0 && now === before;
    before = now;
    await cli.run(["version"]);
    return settled;
  });
  assert.ok(before < 100 * 1024 * 1024, `${before} bytes taken`);
  await daemon.touch("slow-go");
  await running.printed(/419430400\n/);
  assert.ok(memory() < 250, `${memory()} MiB`);
  await daemon.touch("slow-end");
  assert.equal((await running.exited).status, 0);
  await cli.do(["delete", "slow"]);
});

/** Bytes that a process has read so far. */
function ioOf(pid: number): number {
  return Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1]);
}

function holdfastPid(name: string): number | undefined {
  return allPids().find((pid) => {
    const info = processInfo(pid);
    return (
      info?.executable === "node" &&
      info.commandLine.startsWith("holdfast run") &&
      info.commandLine.includes(`--name ${name} --rootfs ${daemon.rootfs} `)
    );
  });
}

test("an exec that leaves a child behind ends without it, and what the child prints before is there", async () => {
  daemon.ctr.ids.add("parent");
  await cli.do(["run", "-d", "--name", "parent", "--rootfs", daemon.rootfs, "--", "sleep", "1000"]);
  const output = await cli.run([
    "exec",
    "parent",
    "sh",
    "-c",
    "(echo child; touch /tmp/said; exec sleep 1000) & until [ -e /tmp/said ]; do sleep 0.05; done; echo parent; exit 5",
  ]);
  assert.equal(output.status, 5);
  assert.deepEqual(output.stdout.trim().split("\n").sort(), ["child", "parent"]);
  await cli.do(["delete", "-f", "parent"]);
});
