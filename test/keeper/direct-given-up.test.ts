// A shim that dies three times within a minute is not started again: its container is left alone, and what it comes to is not lost.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { DeleteResponse } from "../../src/api/generated/task.ts";
import { addressFile, Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { keeperOf } from "../harness/keeper.ts";
import { catches, isRunning } from "../harness/processes.ts";

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
  await eventually("the reason", () => existsSync(reason));
  assert.match(readFileSync(reason, "utf8"), /ended 3 times within a minute, the last time by signal 9/);
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

test("nothing is left behind", async () => {
  assert.equal(await place.leftovers(), "");
});
