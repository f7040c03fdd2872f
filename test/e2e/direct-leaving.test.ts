// A shim that goes: by itself when nobody needs it, at once when it is told to, and so that nobody's call or socket is lost by it.
import assert from "node:assert/strict";
import { existsSync, renameSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { Code } from "../../src/ttrpc/status.ts";
import { Playground } from "../harness/direct-shim.ts";
import { eventually, patience } from "../harness/eventually.ts";
import { killForGood } from "../harness/keeper.ts";
import { shimSocket } from "../harness/leftovers.ts";
import { isRunning } from "../harness/processes.ts";
import { failsOnGoShim } from "../harness/runtime.ts";
import { refusal, ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
after(() => place.close());

const notOurs = failsOnGoShim("it has no such rule");

test("a shim that never got a container goes, though somebody looks in every other second", {
  skip: notOurs,
}, async () => {
  place.makeBundle("leaked", { args: ["true"] });
  const address = await place.start("leaked");
  const first = await ShimClient.connect(address);
  const { shimPid } = await first.connect("leaked");
  first.close();
  let looks = 0;
  const poll = setInterval(async () => {
    try {
      const client = await ShimClient.connect(address);
      await client.connect("leaked");
      client.close();
      looks += 1;
    } catch {
      // It is gone.
    }
  }, 2_000);
  await eventually("the shim to end", () => !isRunning(shimPid), patience(40_000)).finally(() =>
    clearInterval(poll),
  );
  assert.ok(looks >= 2, `${looks} looks`);
  await place.removeBundle("leaked");
});

test("a shim that has decided to go takes no call any more", { skip: notOurs }, async () => {
  const shim = await place.shim("decided", { args: ["true"] });
  const { shimPid } = await shim.connect("decided");
  await shim.create("decided", place.bundle("decided"));
  await place.events.arrived("/tasks/create", "decided");
  // Its last events keep the leaving shim for a while.
  await place.events.close();
  await shim.start("decided");
  await shim.wait("decided");
  await shim.delete("decided");
  const socket = shimSocket(place.address, place.namespace, "decided");
  await eventually("it to decide", () => !existsSync(socket));
  place.makeBundle("late", { args: ["true"] });
  assert.ok(isRunning(shimPid));
  await refusal(Code.UNAVAILABLE, shim.create("late", place.bundle("late")));
  await eventually("the shim to end", () => !isRunning(shimPid));
  assert.ok(!existsSync(place.runtimeState("late")));
  assert.ok(!existsSync(join(place.bundle("late"), "holdfast.state")), "the create was begun");
  shim.close();
  await place.events.open();
  for (const id of ["decided", "late"]) await place.removeBundle(id);
});

test("a create under way when the shim is told to end is done or undone, not cut in two", {
  skip: notOurs,
}, async () => {
  for (let n = 0; n < 5; n += 1) {
    const id = `under-way-${n}`;
    const shim = await place.shim(id, { args: ["sleep", "1000"] });
    const { shimPid } = await shim.connect(id);
    const created = shim.create(id, place.bundle(id));
    await eventually("the create to begin", () => existsSync(join(place.bundle(id), "holdfast.state")));
    process.kill(shimPid, "SIGTERM");
    assert.ok((await created) > 0);
    await eventually("the shim to end", () => !isRunning(shimPid));
    shim.close();
    assert.equal((await place.delete(id)).status, 0);
    await place.removeBundle(id);
  }
});

test("a shim that goes leaves the socket alone that another one has put in its place", {
  skip: notOurs,
}, async () => {
  const shim = await place.shim("replaced", { args: ["true"] });
  const { shimPid } = await shim.connect("replaced");
  const socket = shimSocket(place.address, place.namespace, "replaced");
  renameSync(socket, `${socket}.aside`);
  const other = createServer();
  await new Promise<void>((done) => other.listen(socket, done));
  const { ino } = statSync(socket);
  process.kill(shimPid, "SIGTERM");
  await eventually("the shim to end", () => !isRunning(shimPid));
  const left = statSync(socket, { throwIfNoEntry: false })?.ino;
  other.close();
  assert.equal(left, ino);
  rmSync(`${socket}.aside`);
  shim.close();
  await place.removeBundle("replaced");
});

test("a start beside a shim that stands still gets its address, beside a dead one's socket a shim of its own", {
  skip: notOurs,
}, async () => {
  const shim = await place.shim("standing", { args: ["true"] });
  const { shimPid } = await shim.connect("standing");
  process.kill(shimPid, "SIGSTOP");
  const address = await place.start("standing");
  process.kill(shimPid, "SIGCONT");
  assert.equal(address, `unix://${shimSocket(place.address, place.namespace, "standing")}`);
  assert.equal((await shim.connect("standing")).shimPid, shimPid);
  for (let n = 0; n < 10; n += 1) {
    const client = await ShimClient.connect(address);
    const { shimPid: before } = await client.connect("standing");
    const ended = client.connection;
    killForGood(before);
    await eventually("its connection to end", () => ended.closed);
    // Its listener may live for some milliseconds more.
    assert.equal(await place.start("standing"), address);
    const next = await ShimClient.connect(address);
    assert.notEqual((await next.connect("standing")).shimPid, before);
    next.close();
  }
  shim.close();
  const last = await ShimClient.connect(address);
  await place.forget(last, "standing");
});

test("a start that fails leaves no socket", { skip: notOurs }, async () => {
  place.makeBundle("failing", { args: ["true"] });
  const options = { stdin: new Uint8Array([0xff, 0xff, 0xff]) };
  const odd = await place.invoke([...place.flags("failing"), "start"], place.bundle("failing"), options);
  assert.notEqual(odd.status, 0);
  assert.ok(!existsSync(shimSocket(place.address, place.namespace, "failing")));
  await place.removeBundle("failing");
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
