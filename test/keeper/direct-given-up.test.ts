// A shim that dies three times within a minute is not started again: its container is left alone, and what it comes to is not lost.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { DeleteResponse } from "../../src/api/generated/task.ts";
import { addressFile, Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { keeperOf } from "../harness/keeper.ts";
import { allPids, catches, isRunning, processInfo } from "../harness/processes.ts";

const place = await Playground.create();
after(() => place.close());

test("after the third death within a minute the container is left alone; delete has its true status still", async () => {
  const id = "hapless";
  const shim = await place.shim(id, {
    args: ["until-signal", "TERM=43"],
  });
  await shim.create(id, place.bundle(id));
  await shim.start(id);
  const { pid } = await shim.state(id);
  const first = (await shim.connect(id)).shimPid;
  const keeper = keeperOf(first);
  assert.ok(keeper !== undefined);
  let last = first;
  for (let death = 1; death < 3; death++) {
    process.kill(last, "SIGKILL");
    const before = last;
    last = (await shim.connect(id)).shimPid;
    assert.notEqual(last, before);
  }
  const pending = assert.rejects(shim.wait(id), "who waits learns that nobody answers any more");
  process.kill(last, "SIGKILL");
  await pending;
  const reason = join(place.bundle(id), "holdfast.crash");
  // Its file is there before its text.
  const text = await eventually("the reason", () => existsSync(reason) && readFileSync(reason, "utf8"));
  assert.match(text, /ended 3 times within a minute, the last time by signal 9/);
  assert.ok(isRunning(pid) && isRunning(keeper));
  const socket = addressFile(place.bundle(id)).replace("unix://", "");
  await eventually("the socket's name to be free", () => !existsSync(socket));

  await eventually("the trap", () => catches(pid, 15));
  process.kill(pid, "SIGTERM");
  await eventually("the keeper to leave after its last child", () => !isRunning(keeper));
  const answer = execFileSync(place.binary, [...place.flags(id), "-bundle", place.bundle(id), "delete"]);
  const { pid: deleted, exitStatus } = DeleteResponse.decode(answer);
  assert.deepEqual({ deleted, exitStatus }, { deleted: pid, exitStatus: 43 });
  shim.close();
  await place.removeBundle(id);
});

/** Kills the shim, and each that comes after it at once, until its keeper gives up. They stand still where they would take over. */
async function giveUp(
  first: number,
  keeper: number,
  before: (death: number) => Promise<void>,
): Promise<void> {
  let last = first;
  for (let death = 1; death <= 3; death++) {
    process.kill(last, "SIGKILL");
    if (death === 3) return;
    const former = last;
    last = await eventually("the next shim, standing still", () =>
      allPids().find(
        (pid) => pid !== former && processInfo(pid)?.parent === keeper && processInfo(pid)?.state === "T",
      ),
    );
    await before(death);
  }
}

function deletedStatus(id: string): number {
  const answer = execFileSync(place.binary, [...place.flags(id), "-bundle", place.bundle(id), "delete"]);
  return DeleteResponse.decode(answer).exitStatus;
}

const STANDS_STILL = { HOLDFAST_FAILPOINT: "nowhere,resume:begun=stop,resume:begun=stop" };

test("an exit that the last of its shims had been handed, and did not come to take, is not lost", async () => {
  const id = "untaken";
  const shim = await place.shim(id, { args: ["until-signal", "TERM=43"] }, { env: STANDS_STILL });
  await shim.create(id, place.bundle(id));
  await shim.start(id);
  const { pid } = await shim.state(id);
  await eventually("the trap", () => catches(pid, 15));
  const first = (await shim.connect(id)).shimPid;
  const keeper = keeperOf(first);
  assert.ok(keeper !== undefined);
  await giveUp(first, keeper, async (death) => {
    if (death !== 1) return;
    process.kill(pid, "SIGTERM");
    await eventually("the keeper to reap it", () => processInfo(pid) === undefined);
  });
  await eventually("the keeper to leave", () => !isRunning(keeper));
  assert.equal(deletedStatus(id), 43);
  shim.close();
  await place.removeBundle(id);
});

test("of a pod that was given up, every member's true status is known", async () => {
  const annotations = { "io.containerd.runc.v2.group": "pod-given-up" };
  place.noteGroup("pod-given-up");
  const spec = (status: number) => ({ args: ["until-signal", `TERM=${status}`], annotations });
  const shim = await place.shim("pod-first", spec(41), { env: STANDS_STILL });
  place.makeBundle("pod-second", spec(42));
  assert.equal(await place.start("pod-second"), addressFile(place.bundle("pod-first")));
  const pids: number[] = [];
  for (const id of ["pod-first", "pod-second"]) {
    await shim.create(id, place.bundle(id));
    await shim.start(id);
    const { pid } = await shim.state(id);
    await eventually("the trap", () => catches(pid, 15));
    pids.push(pid);
  }
  const first = (await shim.connect("pod-first")).shimPid;
  const keeper = keeperOf(first);
  assert.ok(keeper !== undefined);
  await giveUp(first, keeper, async () => {});
  await eventually("the reason", () => existsSync(join(place.bundle("pod-first"), "holdfast.crash")));
  for (const pid of pids) process.kill(pid, "SIGTERM");
  await eventually("the keeper to leave after its last child", () => !isRunning(keeper));
  assert.deepEqual([deletedStatus("pod-second"), deletedStatus("pod-first")], [42, 41]);
  shim.close();
  for (const id of ["pod-first", "pod-second"]) await place.removeBundle(id);
});

test("a keeper that has given up ends when the bundle is gone, and so does the logger that waits for the end of its input", async () => {
  const id = "logged";
  const logger = join(place.directory, "logger");
  writeFileSync(logger, `#!/bin/sh\nexec 5>&-\necho $$ >${logger}.pid\nexec cat <&3 >/dev/null\n`, {
    mode: 0o755,
  });
  const shim = await place.shim(id, { args: ["sleep", "1000"] }, { env: STANDS_STILL });
  await shim.create(id, place.bundle(id), { stdout: `binary://${logger}` });
  await shim.start(id);
  const first = (await shim.connect(id)).shimPid;
  const keeper = keeperOf(first);
  assert.ok(keeper !== undefined);
  await giveUp(first, keeper, async () => {});
  await eventually("the reason", () => existsSync(join(place.bundle(id), "holdfast.crash")));
  const logging = Number(readFileSync(`${logger}.pid`, "utf8"));
  assert.equal(deletedStatus(id), 137);
  assert.ok(isRunning(keeper) && isRunning(logging));
  shim.close();
  await place.removeBundle(id);
  await eventually("the keeper's end", () => !isRunning(keeper));
  await eventually("the logger's end", () => !isRunning(logging));
});

test("nothing is left behind", async () => {
  assert.equal(await place.leftovers(), "");
});
