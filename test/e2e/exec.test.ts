// Processes started inside a running container: many at once, their output and exit, their pids, and what is refused.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Daemon } from "../harness/daemon.ts";
import { exitStatusOf } from "../harness/events.ts";
import { inParallel } from "../harness/parallel.ts";
import { failsOnGoShim } from "../harness/runtime.ts";

const daemon = await Daemon.start();
const events = await daemon.events();
after(() => daemon.close());

async function execsAtOnce(id: string, count: number): Promise<void> {
  await daemon.ctr.start(id, ["sleep", "1000"]);
  await inParallel(count, Array.from({ length: count }).keys(), async (n) => {
    const script = `echo out-${n}; echo err-${n} >&2; exit ${n}`;
    const output = await daemon.ctr.exec(id, `exec-${n}`, ["sh", "-c", script]);
    assert.deepEqual(output, { status: n, stdout: `out-${n}\n`, stderr: `err-${n}\n` });
  });
  assert.equal((await daemon.ctr.task(id)).status, "RUNNING");
  await daemon.ctr.remove(id);
}

test("ten execs at once each have their own output and exit code", () => execsAtOnce("ten", 10));

test(
  "a hundred execs at once each have their own output and exit code",
  {
    skip: failsOnGoShim("a storm of execs deadlocks it, containerd 13814"),
  },
  () => execsAtOnce("hundred", 100),
);

test("ctr tasks ps lists the init, the execs with their ids, and their children", async () => {
  await daemon.ctr.start("pids", ["sleep", "1000"]);
  const exec = daemon.ctr.spawn(
    daemon.ctr.execArgs("pids", "family", ["sh", "-c", "sleep 1000 & echo child; wait"]),
  );
  await exec.printed(/child/);
  // The process says so itself; the shim knows it when runc has ended.
  await events.execStarted("pids", "family");
  const processes = await daemon.ctr.processes("pids");
  assert.deepEqual([...processes.values()].sort(), ["", "", "family"]);
  assert.ok(processes.has((await daemon.ctr.task("pids")).pid));
  await daemon.ctr.kill("pids", "SIGKILL");
  assert.equal((await exec.exited).status, 137);
  await daemon.ctr.remove("pids");
});

test("an exec id can be used again once its process has been deleted, not before", async () => {
  await daemon.ctr.start("again", ["sleep", "1000"]);
  assert.equal((await daemon.ctr.exec("again", "same", ["sh", "-c", "exit 3"])).status, 3);
  await daemon.ctr.do(daemon.ctr.execArgs("again", "same", ["sleep", "1000"], ["--detach"]));
  const twice = await daemon.ctr.exec("again", "same", ["true"]);
  assert.notEqual(twice.status, 0);
  assert.match(twice.stderr, /already exists/);
  await daemon.ctr.remove("again");
});

test("a command that is not there is refused with runc's words, and leaves the container as it was", async () => {
  await daemon.ctr.start("missing", ["sleep", "1000"]);
  const output = await daemon.ctr.exec("missing", "nonesuch", ["nonesuch"]);
  assert.notEqual(output.status, 0);
  assert.match(output.stderr, /OCI runtime exec failed: .*"nonesuch": executable file not found/);
  assert.deepEqual([...(await daemon.ctr.processes("missing")).values()], [""]);
  await daemon.ctr.remove("missing");
});

test("execs end with the container: their exits come before its own", async () => {
  await daemon.ctr.start("ends", ["sleep", "1000"]);
  const execs = ["one", "two", "three"].map((execId) =>
    daemon.ctr.spawn(daemon.ctr.execArgs("ends", execId, ["sleep", "1000"])),
  );
  for (const execId of ["one", "two", "three"]) await events.execStarted("ends", execId);
  await daemon.ctr.kill("ends", "SIGKILL");
  for (const exec of execs) assert.equal((await exec.exited).status, 137);
  assert.equal(exitStatusOf(await events.exitOf("ends")), 137);
  await daemon.ctr.remove("ends");
  const exits = events.order("ends").filter((word) => word.startsWith("exit"));
  assert.deepEqual(exits.slice(0, 3).sort(), ["exit one", "exit three", "exit two"]);
  assert.equal(exits[3], "exit");
});

test("an exec into a container that has stopped is refused", async () => {
  await daemon.ctr.start("stopped", ["true"]);
  await events.exitOf("stopped");
  const output = await daemon.ctr.exec("stopped", "late", ["true"]);
  assert.notEqual(output.status, 0);
  assert.match(output.stderr, /stopped|not running/);
  await daemon.ctr.delete("stopped");
});

test("nothing is left behind", async () => assert.equal(await daemon.leftovers(), ""));
