// `kill --direct`: a container ends although its runtime hangs, its shim is stopped or gone, or the daemon is away; and what `dump` shows of that.
import assert from "node:assert/strict";
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ownGroupOf } from "../../src/cli/shims/control-group.ts";
import type { Running } from "../harness/command.ts";
import { eventually } from "../harness/eventually.ts";
import { RuncGate } from "../harness/gate.ts";
import { killForGood } from "../harness/keeper.ts";
import { isRunning, processInfo } from "../harness/processes.ts";
import { onDaemon } from "./cli.ts";

const directory = realpathSync(mkdtempSync(join(tmpdir(), "holdfast-direct-kill-")));
const gate = new RuncGate(directory);
const { daemon, cli } = await onDaemon({ pathDirectories: [gate.directory] });
after(() => rmSync(directory, { recursive: true, force: true }));

/** A container of three processes, one of them in a session of its own; none minds SIGTERM. Resolves to their pids on the host. */
async function start(id: string): Promise<number[]> {
  daemon.ctr.ids.add(id);
  const script = "trap '' TERM; sleep 1000 & setsid sleep 1000 & echo up; while :; do sleep 1000; done";
  await cli.do(["run", "-d", "--name", id, "--rootfs", daemon.rootfs, "sh", "-c", script]);
  return eventually("its processes", async () => {
    const pids = (await cli.json(["shim", id, "pids"])) as { pid: number; command: string }[];
    return pids.length === 4 && pids.every(({ command }) => /sleep|sh/.test(command))
      ? pids.map(({ pid }) => pid)
      : undefined;
  });
}

interface Child {
  readonly command: string;
  readonly sleepsIn?: string;
  readonly stacks: readonly { readonly frames: readonly string[] }[];
}

function allGone(pids: readonly number[]): boolean {
  return pids.every((pid) => !isRunning(pid) || processInfo(pid)?.state === "Z");
}

test("a container whose runtime hangs at kill ends, and dump shows where the runtime is", async () => {
  const pids = await start("stuck");
  const hung: Running[] = [];
  try {
    const runtime = await eventually("the runtime asleep", async () => {
      // The shim waits for it for seconds only, so this one may be over before it is looked at.
      gate.hold("kill");
      hung.push(cli.spawn(["kill", "-s", "TERM", "--all", "stuck"]));
      await gate.held("kill");
      const dump = ["shim", "stuck", "dump"];
      const [{ children }, words] = await Promise.all([
        cli.json(dump) as Promise<{ children: Child[] }>,
        cli.do(dump),
      ]);
      const found = children.find(({ command }) => command.includes(gate.program));
      const isInWords = /Where \d+ is in the kernel, in system call \d+: .*runc .*kill/.test(words);
      // The runtime is a script that looks again and again: at times it runs.
      return found?.sleepsIn !== undefined && found.stacks.length > 0 && isInWords ? found : undefined;
    });
    assert.match(runtime.command, / kill /);
    assert.ok(runtime.stacks.every(({ frames }) => frames.length > 0));
    assert.equal(allGone(pids), false);
    await cli.do(["kill", "--direct", "stuck"]);
    assert.ok(allGone(pids));
  } finally {
    gate.release("kill");
    for (const one of hung) await one.exited;
  }
  assert.equal(await cli.do(["wait", "stuck"]), "137\n");
});

test("a container whose shim is stopped ends, with daemon and without", async () => {
  const [first, second] = [await start("frozen-1"), await start("frozen-2")];
  const shims = [await daemon.shimPid("frozen-1"), await daemon.shimPid("frozen-2")];
  for (const pid of shims) process.kill(pid, "SIGSTOP");
  try {
    await cli.do(["kill", "--direct", "frozen-1"]);
    assert.ok(allGone(first));
    assert.equal(allGone(second), false);
    process.kill(daemon.pid, "SIGSTOP");
    try {
      await cli.do(["shim", "frozen-2", "kill", "--direct"]);
    } finally {
      process.kill(daemon.pid, "SIGCONT");
    }
    assert.ok(allGone(second));
  } finally {
    for (const pid of shims) process.kill(pid, "SIGCONT");
  }
  for (const id of ["frozen-1", "frozen-2"]) assert.equal(await cli.do(["wait", id]), "137\n");
});

test("a signal of one's own goes to the init alone, unless --all", async () => {
  daemon.ctr.ids.add("polite");
  const script =
    "trap 'exit 7' USR1; (trap 'echo child; exit' USR1; echo up; while :; do sleep 0.1; done) & while :; do sleep 0.1; done";
  await cli.do(["run", "-d", "--name", "polite", "--rootfs", daemon.rootfs, "sh", "-c", script]);
  await eventually("both traps", async () => (await cli.do(["logs", "polite"])).includes("up"));
  await cli.do(["kill", "--direct", "-s", "USR1", "polite"]);
  assert.equal(await cli.do(["wait", "polite"]), "7\n");
  assert.doesNotMatch(await cli.do(["logs", "polite"]), /child/);
});

test("with --all a signal of one's own goes to every process, and one before it went to the init alone", async () => {
  daemon.ctr.ids.add("told");
  const traps = (who: string): string => `trap 'echo ${who} 1' USR1; trap 'echo ${who} 2' USR2`;
  const idle = "while :; do sleep 0.1; done";
  const script = `${traps("init")}; (${traps("child")}; echo up; ${idle}) & ${idle}`;
  await cli.do(["run", "-d", "--name", "told", "--rootfs", daemon.rootfs, "sh", "-c", script]);
  const says = (...words: string[]): Promise<string> =>
    eventually(words.join(", "), async () => {
      const log = await cli.do(["logs", "told"]);
      return words.every((word) => log.includes(word)) ? log : undefined;
    });
  await says("up");
  await cli.do(["kill", "--direct", "-s", "USR1", "told"]);
  await says("init 1");
  await cli.do(["kill", "--direct", "--all", "-s", "USR2", "told"]);
  // A shell's traps are run in the order of their signals.
  assert.doesNotMatch(await says("init 2", "child 2"), /child 1/);
  await cli.do(["delete", "-f", "told"]);
});

test("a container without shim and daemon ends", async () => {
  const pids = await start("alone");
  const shim = await daemon.shimPid("alone");
  await daemon.kill();
  try {
    killForGood(shim);
    await eventually("the shim to be gone", () => !isRunning(shim));
    assert.equal(allGone(pids), false);
    await cli.do(["kill", "--direct", "alone"]);
    await eventually("its processes to be gone", () => allGone(pids));
  } finally {
    await daemon.launch();
  }
});

test("what is not known is not killed, and said", async () => {
  const { status, stderr } = await cli.run(["kill", "--direct", "nosuch"]);
  assert.equal(status, 1);
  assert.match(stderr, /nosuch: no process of nosuch in namespace .* is known/);
});

test("a control group that holds more than the container is not used", async () => {
  const [pid = 0, other = 0] = await start("grouped");
  assert.notEqual(ownGroupOf(pid, [process.pid]), undefined);
  assert.equal(ownGroupOf(pid, [process.pid, other]), undefined);
  await cli.do(["delete", "-f", "grouped"]);
  assert.equal(ownGroupOf(process.pid, [process.pid]), undefined);
  assert.equal(ownGroupOf(process.pid, [process.ppid, process.pid]), undefined);
});
