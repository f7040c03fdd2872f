// The realtime clock is set forward and back while containers live: no deadline, no pause and no exit depends on it. Only in a machine of the tests' own.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, test } from "node:test";
import { nsFromTimestamp } from "../../src/api/timestamp.ts";
import { Daemon } from "../harness/daemon.ts";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { isRunning } from "../harness/processes.ts";
import { notOwnClock } from "./needs.ts";

const DAY = 86_400;
/** By how much the clock is off, in s, one after the other: a day ahead, two years back, and what it was. */
const JUMPS = [DAY, -730 * DAY, 0];

const skip = notOwnClock;
const place = skip === false ? await Playground.create() : undefined;
const began = { real: Date.now(), monotonic: performance.now() };

/** What the clock would show if nobody had set it, in s. */
function trueSeconds(): number {
  return (began.real + performance.now() - began.monotonic) / 1000;
}

function setClock(off: number): void {
  execFileSync("date", ["-s", `@${Math.round(trueSeconds() + off)}`], { stdio: "ignore" });
}

after(async () => {
  if (skip === false) setClock(0);
  await place?.close();
});

test("pending calls, execs, events and a killed shim go on while the clock jumps; an exit has the time that the clock shows", {
  skip,
}, async () => {
  assert.ok(place !== undefined);
  const id = "jumps";
  const shim = await place.shim(id, { args: ["until-signal", "TERM=42"] });
  await shim.create(id, place.bundle(id));
  await shim.start(id);
  const waiting = shim.task.wait({ id, execId: "" });
  for (const [n, off] of JUMPS.entries()) {
    const execId = `e${n}`;
    await shim.exec(id, execId, ["sleep", "1000"]);
    await shim.start(id, execId);
    const exec = shim.wait(id, execId);
    setClock(off);
    const { shimPid } = await shim.connect(id);
    // Its events wait, and are tried again, for a daemon that is away while the clock jumps.
    await place.events.close();
    await shim.kill(id, 9, execId);
    const { exitStatus, exitedAt } = await exec;
    assert.equal(exitStatus, 137);
    const seconds = Number(nsFromTimestamp(exitedAt ?? { seconds: 0n, nanos: 0 }) / 1_000_000_000n);
    assert.ok(Math.abs(seconds - trueSeconds() - off) < 600, `${seconds} for ${trueSeconds() + off}`);
    // A third death within a minute would be the last.
    if (n < 2) process.kill(shimPid, "SIGKILL");
    await shim.delete(id, execId);
    await place.events.open();
    await place.events.arrived("/tasks/exit", id, execId);
  }
  await shim.kill(id, 15);
  assert.equal((await waiting).exitStatus, 42);
  assert.equal((await shim.delete(id)).exitStatus, 42);
  await place.forget(shim, id);
  assert.equal(await place.leftovers(), "");
});

test("a shim without a container goes after its grace time and not before, whatever the clock does", {
  skip,
}, async () => {
  assert.ok(place !== undefined);
  const shim = await place.shim("empty", { args: ["true"] });
  const { shimPid } = await shim.connect("empty");
  for (const off of JUMPS) {
    setClock(off);
    assert.equal((await shim.connect("empty")).shimPid, shimPid);
  }
  await shim.shutdown("empty");
  shim.close();
  await eventually("it to go", () => !isRunning(shimPid));
  await place.removeBundle("empty");
});

test("a daemon that is restarted with the clock set back has its container and its true end", {
  skip,
}, async () => {
  const daemon = await Daemon.start({ kind: "containerd" });
  try {
    await daemon.ctr.start("c", ["until-signal", "TERM=23"]);
    setClock(-DAY);
    await daemon.crashAndRestart();
    await eventually("the task", async () => (await daemon.ctr.task("c")).status === "RUNNING");
    assert.equal((await daemon.ctr.exec("c", "e", ["sh", "-c", "exit 9"])).status, 9);
    setClock(DAY);
    await daemon.ctr.kill("c", "SIGTERM");
    await eventually("its end", async () => (await daemon.ctr.task("c")).status === "STOPPED");
    await daemon.ctr.delete("c");
    setClock(0);
    assert.equal(await daemon.leftovers(), "");
  } finally {
    setClock(0);
    await daemon.close();
  }
});
