// What the shim does with another OCI runtime in runc's place, named by BinaryName. Used by the tests in this folder, a file each runtime.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Daemon, type DaemonOptions } from "../harness/daemon.ts";
import { exitStatusOf } from "../harness/events.ts";
import { eventually } from "../harness/eventually.ts";
import { killForGood } from "../harness/keeper.ts";
import { GO_RUNTIME, isHoldfastd, OUR_RUNTIME, shimBinary } from "../harness/runtime.ts";
import { Terminal } from "../harness/terminal.ts";

export interface Lacks {
  /** Why a test of that name is skipped. */
  readonly [test: string]: string;
}

const SLEEP = ["sleep", "1000000"];

/** Declares the tests. `words` go between the program's name and what the shim asks of it. */
export async function testRuntime(
  program: string,
  lacks: Lacks = {},
  options: DaemonOptions & { readonly words?: readonly string[] } = {},
): Promise<void> {
  const installed = spawnSync(program, ["--version"]).status === 0;
  const skip = isHoldfastd
    ? "ctr names a runtime to containerd"
    : installed
      ? false
      : `${program} is not installed`;
  // ctr takes --runc-binary for the usual runtime's name only: ours stands under it.
  const daemon =
    skip === false
      ? await Daemon.start({ ...options, runtime: GO_RUNTIME, shim: shimBinary(OUR_RUNTIME) })
      : (undefined as never);
  const events = skip === false ? await daemon.events() : (undefined as never);
  after(() => (skip === false ? daemon.close() : undefined));
  const flags = ["--runc-binary", options.words === undefined ? program : wrapper(program, options.words)];
  const start = (id: string, command: readonly string[], more: readonly string[] = []): Promise<void> =>
    daemon.ctr.start(id, command, { flags: [...flags, ...more] });
  const onRuntime = (name: string, body: () => Promise<void>): void => {
    test(name, { skip: skip === false ? (lacks[name] ?? false) : skip }, body);
  };

  onRuntime("run: output, and the command's status", async () => {
    const output = await daemon.ctr.run("runs", ["sh", "-c", "echo out; echo err >&2; exit 42"], { flags });
    assert.deepEqual(output, { status: 42, stdout: "out\n", stderr: "err\n" });
  });

  onRuntime("a command that is not there is refused, by its name", async () => {
    const output = await daemon.ctr.run("absent", ["no-such-program"], { flags });
    assert.notEqual(output.status, 0);
    assert.match(output.stderr, /no-such-program/);
    await daemon.ctr.try(["tasks", "delete", "--force", "absent"]);
    await daemon.ctr.try(["containers", "delete", "absent"]);
  });

  onRuntime("exec: output and status; its end is told", async () => {
    await start("execs", SLEEP);
    const output = await daemon.ctr.exec("execs", "e", ["sh", "-c", "echo out; exit 3"]);
    assert.deepEqual([output.status, output.stdout], [3, "out\n"]);
    assert.equal(exitStatusOf(await events.exitOf("execs", "e")), 3);
    await daemon.ctr.remove("execs");
  });

  onRuntime("signals, and 128 + the signal as the status", async () => {
    await start("traps", ["sh", "-c", "trap 'exit 23' TERM; while true; do sleep 0.02; done"]);
    await eventually("its trap", async () => {
      await daemon.ctr.try(["tasks", "kill", "--signal", "SIGTERM", "traps"]);
      return (await daemon.ctr.task("traps")).status === "STOPPED";
    });
    assert.equal(exitStatusOf(await events.exitOf("traps")), 23);
    await daemon.ctr.delete("traps");
    await start("dies", SLEEP);
    await daemon.ctr.kill("dies", "SIGKILL");
    assert.equal(exitStatusOf(await events.exitOf("dies")), 137);
    await daemon.ctr.delete("dies");
  });

  onRuntime("a terminal", async () => {
    const argv = [
      "ctr",
      ...daemon.ctr.base,
      ...daemon.ctr.runArgs("tty", ["sh"], ["--rm", "--tty", ...flags]),
    ];
    const terminal = Terminal.run(argv, { rows: 33, columns: 101 });
    await terminal.shows(/# /);
    // ctr tells the size when the container has started.
    terminal.type("until stty size | grep -q 101; do sleep 0.1; done; stty size; exit 6\r");
    await terminal.shows(/33 101/);
    assert.equal((await terminal.exited).status, 6);
  });

  onRuntime("pause and resume", async () => {
    await start("pauses", SLEEP);
    await daemon.ctr.do(["tasks", "pause", "pauses"]);
    assert.equal((await daemon.ctr.task("pauses")).status, "PAUSED");
    await daemon.ctr.do(["tasks", "resume", "pauses"]);
    assert.equal((await daemon.ctr.exec("pauses", "e", ["true"])).status, 0);
    await daemon.ctr.remove("pauses");
  });

  onRuntime("stats and an OOM kill", async () => {
    await start(
      "hog",
      ["sh", "-c", "x=a; while true; do x=$x$x; done"],
      ["--memory-limit", String(16 * 2 ** 20)],
    );
    await events.topicOf("/tasks/oom", "hog");
    assert.equal(exitStatusOf(await events.exitOf("hog")), 137);
    await daemon.ctr.delete("hog");
    await start("figures", SLEEP);
    assert.ok(Object.keys(await daemon.ctr.metrics("figures")).length > 0);
    await daemon.ctr.remove("figures");
  });

  onRuntime("ps lists the processes", async () => {
    await start("lists", SLEEP);
    await daemon.ctr.do(daemon.ctr.execArgs("lists", "other", SLEEP, ["--detach"]));
    assert.deepEqual([...(await daemon.ctr.processes("lists")).values()].sort(), ["", "other"]);
    await daemon.ctr.remove("lists");
  });

  onRuntime("the daemon is killed and restarted, and the shim is killed", async () => {
    await start("lasts", SLEEP);
    await daemon.crashAndRestart();
    assert.equal((await daemon.ctr.exec("lasts", "e", ["sh", "-c", "exit 4"])).status, 4);
    const again = await daemon.events();
    killForGood(await daemon.shimPid("lasts"));
    assert.equal(exitStatusOf(await again.exitOf("lasts")), 137);
    await daemon.ctr.try(["tasks", "delete", "lasts"]);
    await daemon.ctr.do(["containers", "delete", "lasts"]);
  });

  onRuntime("nothing is left behind", async () => {
    // crun keeps an empty directory of its own there, for all its containers.
    rmSync(join(daemon.runtimeState(".empty-directory")), { recursive: true, force: true });
    assert.equal(await daemon.leftovers(), "");
  });
}

/** A program that is `program` with these words first. */
function wrapper(program: string, words: readonly string[]): string {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-runtime-"));
  after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, program);
  writeFileSync(path, `#!/bin/sh\nexec ${program} ${words.join(" ")} "$@"\n`, { mode: 0o755 });
  return path;
}
