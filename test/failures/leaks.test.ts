// Shims, containers and half-made containers that stayed for ever, each provoked. Numbers are issues of containerd/containerd unless named.
import assert from "node:assert/strict";
import { existsSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Code } from "../../src/ttrpc/status.ts";
import { Daemon, patience } from "../harness/daemon.ts";
import { Playground } from "../harness/direct-shim.ts";
import { exitStatusOf } from "../harness/events.ts";
import { eventually } from "../harness/eventually.ts";
import { RuncGate } from "../harness/gate.ts";
import { mountsBelow } from "../harness/leftovers.ts";
import { isRunning, processesMentioning } from "../harness/processes.ts";
import { failsOnGoShim, GO_RUNTIME, shimBinary } from "../harness/runtime.ts";
import { refusal } from "../harness/shim-client.ts";

const place = await Playground.create();
const gate = new RuncGate(place.directory);
const daemon = await Daemon.start();
after(async () => {
  gate.releaseAll();
  await place.close();
  await daemon.close();
});

test("an ended container whose Delete was lost goes with its bundle, and its shim with it (7496, 11392)", {
  skip: failsOnGoShim("the shim stays for ever"),
}, async () => {
  const shim = await place.shim("lost", { args: ["true"] });
  await shim.create("lost", place.bundle("lost"));
  await shim.start("lost");
  await shim.wait("lost");
  const { shimPid } = await shim.connect("lost");
  const state = place.runtimeState("lost");
  assert.ok(existsSync(state));
  shim.close();
  await place.removeBundle("lost");
  await eventually("the shim to end", () => !isRunning(shimPid), patience(60_000));
  assert.equal(existsSync(state), false);
});

test("a pod whose processes are all killed from outside is told, and leaves no shim (6860, talos 13622)", async () => {
  const events = await daemon.events();
  const annotation = ["--annotation", "io.kubernetes.cri.sandbox-id=outside"];
  for (const id of ["outside", "outside-b"])
    await daemon.ctr.start(id, ["sleep", "100000"], { flags: annotation });
  const shim = await daemon.shimPid("outside");
  assert.equal(await daemon.shimPid("outside-b"), shim);
  for (const id of ["outside", "outside-b"]) process.kill((await daemon.ctr.task(id)).pid, "SIGKILL");
  for (const id of ["outside", "outside-b"]) assert.equal(exitStatusOf(await events.exitOf(id)), 137);
  for (const id of ["outside", "outside-b"]) await daemon.ctr.remove(id);
  await eventually("the shim to end", () => !isRunning(shim));
});

for (const verb of ["create", "start"]) {
  test(`a runc that is killed at ${verb} leaves no runc init, no mount and no container (9314, 11674)`, async () => {
    const id = `killed-${verb}`;
    const shim = await place.shim(id, { args: ["sleep", "100000"] });
    const options = { binaryName: gate.program };
    if (verb === "start") await shim.create(id, place.bundle(id), { options });
    gate.hold(verb);
    const call = verb === "create" ? shim.create(id, place.bundle(id), { options }) : shim.start(id);
    const refused = refusal(Code.UNKNOWN, call);
    process.kill(await gate.held(verb), "SIGKILL");
    assert.match(await refused, new RegExp(`OCI runtime ${verb} failed`));
    gate.release(verb);
    if (verb === "create") await refusal(Code.NOT_FOUND, shim.state(id));
    else await shim.delete(id);
    assert.equal(existsSync(place.runtimeState(id)), false);
    assert.deepEqual(mountsBelow(place.bundle(id)), []);
    await eventually("runc and its children to end", () => {
      return processesMentioning(place.bundle(id)).every(({ executable }) =>
        executable.startsWith("containerd-shim"),
      );
    });
    await place.forget(shim, id);
  });
}

test("the binary is replaced while containers run, by the Go shim and back: old ones go on, new ones run (10984, 10888)", {
  skip: failsOnGoShim("this test replaces ours"),
}, async () => {
  const binary = join(daemon.directory, "bin", "containerd-shim-holdfast-v2");
  const replaceBy = (target: string): void => {
    rmSync(binary);
    symlinkSync(target, binary);
  };
  const program = ["sh", "-c", "trap 'exit 11' TERM; while true; do sleep 0.05; done"];
  await daemon.ctr.start("ours-before", program);
  replaceBy(shimBinary(GO_RUNTIME));
  await daemon.ctr.start("go", program);
  replaceBy(shimBinary());
  await daemon.crashAndRestart();
  await daemon.ctr.start("ours-after", program);
  for (const id of ["ours-before", "go", "ours-after"]) {
    assert.equal((await daemon.ctr.exec(id, "e", ["true"])).status, 0);
    await daemon.ctr.kill(id, "SIGTERM");
  }
  const events = await daemon.events();
  for (const id of ["ours-before", "go", "ours-after"]) {
    await eventually(`${id} to stop`, async () => (await daemon.ctr.task(id)).status === "STOPPED");
    await daemon.ctr.delete(id);
    assert.equal(exitStatusOf(await events.topicOf("/tasks/delete", id)), 11);
  }
});

test("an internal error's text is handed to the daemon when its container is cleaned up (4274)", {
  skip: failsOnGoShim("the text goes to a fifo that nobody reads"),
}, async () => {
  const shim = await place.shim("crashed", { args: ["sleep", "100000"] });
  await shim.create("crashed", place.bundle("crashed"));
  const { shimPid } = await shim.connect("crashed");
  // What src/shim/crash.ts leaves (see test/shim/crash.test.ts); nothing short of a fault in the shim itself makes it.
  writeFileSync(
    join(place.bundle("crashed"), "holdfast.crash"),
    "TypeError: not a function\n    at reap (src/reaper/reaper.ts:1)",
  );
  process.kill(shimPid, "SIGKILL");
  const output = await place.delete("crashed");
  assert.equal(output.status, 0);
  assert.match(output.stderr, /internal error: TypeError: not a function\n +at reap/);
  shim.close();
  await place.removeBundle("crashed");
});

test("nothing is left behind", async () => {
  assert.equal(await place.leftovers(), "");
  assert.equal(await daemon.leftovers(), "");
});
