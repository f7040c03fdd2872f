// A shim that takes a container for running which has no process any more, because whoever should have told of its end hangs. It takes the watchdog minutes to be
// sure, so this is for the campaign; its parts are in test/reaper and test/task.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Playground } from "../harness/direct-shim.ts";
import { keeperOf } from "../harness/keeper.ts";
import { isFullCampaign } from "./size.ts";

const place = await Playground.create();
after(() => place.close());

test("an exit that a stopped keeper does not hand on is published with the true status", {
  skip: isFullCampaign ? false : "it takes minutes: npm run campaign -- failures",
}, async () => {
  const shim = await place.shim("silent", { args: ["sleep", "100000"] });
  await shim.create("silent", place.bundle("silent"));
  await shim.start("silent");
  const { pid } = await shim.state("silent");
  const first = (await shim.connect("silent")).shimPid;
  const keeper = keeperOf(first);
  assert.ok(keeper !== undefined);
  process.kill(first, "SIGKILL");
  assert.notEqual((await shim.connect("silent")).shimPid, first);
  // The container is the keeper's child from here on.
  process.kill(keeper, "SIGSTOP");
  try {
    process.kill(pid, "SIGKILL");
    // A call has a minute.
    const waiting = (): Promise<{ exitStatus: number }> => shim.wait("silent");
    const { exitStatus } = await waiting().catch(waiting).catch(waiting);
    assert.equal(exitStatus, 137);
  } finally {
    process.kill(keeper, "SIGCONT");
  }
  assert.equal((await shim.delete("silent")).exitStatus, 137);
  await place.forget(shim, "silent");
  assert.equal(await place.leftovers(), "");
});
