// Two daemons of one host have a container of the same name: the runtime keeps both in one state directory. Whoever comes second is refused, and
// nothing that it undoes or cleans up is the first one's.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Code } from "../../src/ttrpc/status.ts";
import { Playground } from "../harness/direct-shim.ts";
import { RuncGate } from "../harness/gate.ts";
import { mountsBelow } from "../harness/leftovers.ts";
import { isRunning } from "../harness/processes.ts";
import { failsOnGoShim } from "../harness/runtime.ts";
import { refusal, type ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
const gate = new RuncGate(place.directory);
after(() => {
  gate.releaseAll();
  return place.close();
});

const SPEC = { args: ["sleep", "1000"] };
const gated = { options: { binaryName: gate.program } };
const skip = failsOnGoShim("it force-deletes what it finds");

/** Creates and starts the first daemon's container. */
async function holder(shim: ShimClient, id: string): Promise<number> {
  await shim.create(id, place.bundle(id));
  return shim.start(id);
}

async function assertLives(shim: ShimClient, id: string, pid: number): Promise<void> {
  assert.ok(isRunning(pid));
  const state = await shim.state(id);
  assert.deepEqual([state.status, state.pid], [2, pid]);
  assert.ok(existsSync(place.runtimeState(id)));
}

async function end(first: ShimClient, second: ShimClient, id: string): Promise<void> {
  await place.endContainer(first, id);
  await place.forget(first, id);
  await place.forget(second, `${id}-2`);
}

test("a Create of an id that another daemon's container has is refused, says who has it, and harms nobody", {
  skip,
}, async () => {
  const first = await place.shim("taken", SPEC);
  const second = await place.shim("taken-2", SPEC);
  const pid = await holder(first, "taken");
  const rootfs = [{ type: "tmpfs", source: "tmpfs", options: [], target: "" }];
  const words = await refusal(
    Code.ALREADY_EXISTS,
    second.create("taken", place.bundle("taken-2"), { rootfs }),
  );
  assert.ok(words.includes(place.bundle("taken")), words);
  await assertLives(first, "taken", pid);
  assert.deepEqual(mountsBelow(place.bundle("taken-2")), []);
  assert.equal(existsSync(join(place.bundle("taken-2"), "holdfast.state")), false);
  await end(first, second, "taken");
});

test("of two Creates of one id that race, the one that loses leaves the winner's container alone", {
  skip,
}, async () => {
  const first = await place.shim("raced", SPEC);
  const second = await place.shim("raced-2", SPEC);
  gate.hold("create");
  const losing = refusal(Code.UNKNOWN, second.create("raced", place.bundle("raced-2"), gated));
  await gate.held("create");
  const pid = await holder(first, "raced");
  gate.release("create");
  assert.match(await losing, /OCI runtime create failed: .*exist/);
  await assertLives(first, "raced", pid);
  await end(first, second, "raced");
});

test("a runtime that is killed in the middle of a Create that would have lost leaves the other's container alone", {
  skip,
}, async () => {
  const first = await place.shim("cut", SPEC);
  const second = await place.shim("cut-2", SPEC);
  gate.hold("create");
  const losing = refusal(Code.UNKNOWN, second.create("cut", place.bundle("cut-2"), gated));
  const runtime = await gate.held("create");
  const pid = await holder(first, "cut");
  process.kill(runtime, "SIGKILL");
  await losing;
  gate.release("create");
  await assertLives(first, "cut", pid);
  await end(first, second, "cut");
});

test("delete for a dead shim whose id is another daemon's container leaves that one alone", {
  skip,
}, async () => {
  const first = await place.shim("deleted", SPEC);
  const second = await place.shim("deleted-2", SPEC);
  const pid = await holder(first, "deleted");
  const output = await place.invoke(
    [...place.flags("deleted"), "-bundle", place.bundle("deleted-2"), "delete"],
    place.bundle("deleted-2"),
  );
  assert.equal(output.status, 0);
  assert.ok(output.stderr.includes(place.bundle("deleted")), output.stderr);
  await assertLives(first, "deleted", pid);
  await end(first, second, "deleted");
});

test("what an earlier create of the same bundle has left in the runtime does not hold up the next", {
  skip,
}, async () => {
  const shim = await place.shim("again", SPEC);
  gate.linger("create");
  const creating = refusal(Code.UNKNOWN, shim.create("again", place.bundle("again"), gated));
  // It cannot be undone: the runtime says nothing of the container, and hangs when asked to delete it.
  gate.fail("state", "nothing today");
  gate.fail("delete", "nothing today");
  process.kill(await gate.held("create"), "SIGKILL");
  await creating;
  assert.ok(existsSync(place.runtimeState("again")));
  gate.releaseAll();
  await shim.create("again", place.bundle("again"));
  await place.endContainer(shim, "again");
  await place.forget(shim, "again");
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
