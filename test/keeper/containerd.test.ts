// A shim behind a real containerd is killed with SIGKILL: the container stays, and the daemon and whoever types into it do not notice.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Daemon } from "../harness/daemon.ts";
import { exitStatusOf } from "../harness/events.ts";
import { eventually } from "../harness/eventually.ts";
import { keeperOf } from "../harness/keeper.ts";
import { isRunning } from "../harness/processes.ts";
import { Terminal } from "../harness/terminal.ts";

const daemon = await Daemon.start();
const events = await daemon.events();
after(() => daemon.close());

test("a container whose shim is killed runs on, takes execs, and ends with its true status", async () => {
  await daemon.ctr.start("lives", ["sh", "-c", "trap 'exit 23' TERM; while :; do sleep 0.1; done"]);
  const { pid } = await daemon.ctr.task("lives");
  const shim = await daemon.shimPid("lives");
  assert.ok(keeperOf(shim) !== undefined);
  process.kill(shim, "SIGKILL");
  assert.equal((await daemon.ctr.task("lives")).status, "RUNNING");
  assert.ok(isRunning(pid));
  assert.notEqual(await daemon.shimPid("lives"), shim);
  assert.equal((await daemon.ctr.exec("lives", "after", ["sh", "-c", "exit 9"])).status, 9);
  await daemon.ctr.kill("lives", "SIGTERM");
  assert.equal(exitStatusOf(await events.exitOf("lives")), 23);
  await daemon.ctr.delete("lives");
});

test("a daemon that was away when the shim was killed finds the container", async () => {
  await daemon.ctr.start("found", ["sleep", "1000"]);
  process.kill(await daemon.shimPid("found"), "SIGKILL");
  await daemon.crashAndRestart();
  await eventually("the task", async () => (await daemon.ctr.task("found")).status === "RUNNING");
  await daemon.ctr.remove("found");
});

test("whoever types into ctr run -it goes on typing when the shim is killed in the middle of a line", async () => {
  const argv = ["ctr", ...daemon.ctr.base, ...daemon.ctr.runArgs("typed", ["sh"], ["--rm", "--tty"])];
  const terminal = Terminal.run(argv, { rows: 24, columns: 80 });
  terminal.type("echo one-$((1+1))\r");
  await terminal.shows(/one-2/);
  terminal.type("echo two-");
  process.kill(await daemon.shimPid("typed"), "SIGKILL");
  terminal.type("$((2+2))\r");
  await terminal.shows(/two-4/);
  terminal.type("exit 33\r");
  assert.equal((await terminal.exited).status, 33);
});

test("nothing is left behind", async () => {
  assert.equal(await daemon.leftovers(), "");
});
