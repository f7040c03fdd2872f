// Signals through ctr: the init receives what is sent, a process that dies of one reports 128 + its number, and pause holds them back.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { Daemon } from "../harness/daemon.ts";
import { exitStatusOf } from "../harness/events.ts";
import { eventually } from "../harness/eventually.ts";
import { inParallel } from "../harness/parallel.ts";
import { signalsInitOnly } from "../harness/runtime.ts";

const daemon = await Daemon.start();
const events = await daemon.events();
after(() => daemon.close());

// Linux signals 1 to 64. 32 and 33 belong to the threads library, which hides them from programs.
const ALL_SIGNALS = Array.from({ length: 64 }, (_, index) => index + 1).filter(
  (signal) => ![32, 33].includes(signal),
);
const KILL = 9;
const STOP = 19;
// By default these are ignored (CHLD, CONT, URG, WINCH) or stop the process (STOP, TSTP, TTIN, TTOU): it does not die of them.
const NOT_DEADLY = [17, 18, 23, 28, STOP, 20, 21, 22];
/** Before a process is its program, it is the runtime's, which does with some signals as it likes. */
function programOf(pid: number): Promise<unknown> {
  return eventually("its program", () => readFileSync(`/proc/${pid}/comm`, "utf8") === "sleep\n");
}

const DEADLY = ALL_SIGNALS.filter((signal) => !NOT_DEADLY.includes(signal));

test("a process that dies of a signal is reported with 128 + the signal, for every deadly signal", async () => {
  await daemon.ctr.start("deaths", ["sleep", "1000"]);
  await inParallel(6, DEADLY, async (signal) => {
    const execId = `dies-${signal}`;
    const exec = daemon.ctr.spawn(daemon.ctr.execArgs("deaths", execId, ["sleep", "1000"]));
    const { body } = await events.execStarted("deaths", execId);
    await programOf(Number(body.pid));
    await daemon.ctr.kill("deaths", signal, ["--exec-id", execId]);
    assert.equal((await exec.exited).status, 128 + signal, exec.stderrText);
    assert.equal(exitStatusOf(await events.exitOf("deaths", execId)), 128 + signal);
  });
  await daemon.ctr.remove("deaths");
});

test("ctr tasks kill delivers every signal that can be caught to the init", async () => {
  const catchable = ALL_SIGNALS.filter((signal) => signal !== KILL && signal !== STOP);
  const says = catchable.map((signal) => `${signal}:caught-${signal}-`);
  const init = daemon.ctr.attach("catcher", ["until-signal", "ready", ...says]);
  await init.printed(/ready/);
  for (const signal of catchable) {
    await daemon.ctr.kill("catcher", signal);
    await init.printed(new RegExp(`caught-${signal}-`));
  }
  await daemon.ctr.kill("catcher", "SIGKILL");
  assert.equal((await init.exited).status, 128 + KILL);
});

test("ctr tasks kill ends a container that shares the host's pid namespace by every deadly signal", async () => {
  // An init in its own pid namespace is immune to most signals; one in the host's is not.
  const few = [1, 2, 3, 6, 9, 10, 11, 13, 14, 15, 24, 34, 64];
  await inParallel(3, few, async (signal) => {
    const id = `killed-${signal}`;
    await daemon.ctr.startSpec(id, daemon.writeSpec(id, { args: ["sleep", "1000"], hostPid: true }));
    const { pid } = await daemon.ctr.task(id);
    await programOf(pid);
    await daemon.ctr.kill(id, signal);
    assert.equal(exitStatusOf(await events.exitOf(id)), 128 + signal);
    await daemon.ctr.delete(id);
  });
});

test("ctr tasks kill --all reaches every process of the container", { skip: signalsInitOnly }, async () => {
  const init = daemon.ctr.attach("all", [
    "sh",
    "-c",
    "for n in 1 2 3; do until-signal up-$n- USR1=0:got-$n- & done; trap '' USR1; wait; wait; wait; exit 5",
  ]);
  for (const n of [1, 2, 3]) await init.printed(new RegExp(`up-${n}-`));
  await daemon.ctr.kill("all", "SIGUSR1", ["--all"]);
  for (const n of [1, 2, 3]) await init.printed(new RegExp(`got-${n}-`));
  assert.equal((await init.exited).status, 5);
});

test("ctr tasks kill --exec-id ends that process and no other", async () => {
  await daemon.ctr.start("one", ["sleep", "1000"]);
  for (const execId of ["stays", "goes"]) {
    await daemon.ctr.do(daemon.ctr.execArgs("one", execId, ["sleep", "1000"], ["--detach"]));
  }
  await daemon.ctr.kill("one", "SIGTERM", ["--exec-id", "goes"]);
  assert.equal(exitStatusOf(await events.exitOf("one", "goes")), 128 + 15);
  assert.deepEqual([...(await daemon.ctr.processes("one")).values()].sort(), ["", "stays"]);
  await daemon.ctr.remove("one");
});

test("killing an exec that has ended says so", async () => {
  await daemon.ctr.start("late", ["sleep", "1000"]);
  await daemon.ctr.do(daemon.ctr.execArgs("late", "short", ["true"], ["--detach"]));
  await events.exitOf("late", "short");
  const output = await daemon.ctr.try(["tasks", "kill", "--exec-id", "short", "late"]);
  assert.notEqual(output.status, 0);
  assert.match(output.stderr, /process already finished: not found/);
  await daemon.ctr.remove("late");
});

test("nothing is left behind", async () => assert.equal(await daemon.leftovers(), ""));
