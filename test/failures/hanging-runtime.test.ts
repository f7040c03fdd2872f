// A runtime that hangs where an exit or a clean-up waits for it: it is killed after a while, and one goes on without it (9568, 13483).
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, test } from "node:test";
import { Code } from "../../src/ttrpc/status.ts";
import { type BundleSpec, Playground } from "../harness/direct-shim.ts";
import { RuncGate } from "../harness/gate.ts";
import { failsOnGoShim } from "../harness/runtime.ts";
import { refusal, type ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
const gate = new RuncGate(place.directory);
after(() => {
  gate.releaseAll();
  return place.close();
});

const SPEC = { args: ["sleep", "1000"] };
const skip = failsOnGoShim("it waits for the runtime");

async function running(id: string, spec: BundleSpec = SPEC): Promise<ShimClient> {
  const shim = await place.shim(id, spec);
  await shim.create(id, place.bundle(id), { options: { binaryName: gate.program } });
  await shim.start(id);
  return shim;
}

async function deleted(shim: ShimClient, id: string): Promise<void> {
  await shim.delete(id);
  await place.forget(shim, id);
}

test("the exit of a paused container is published though runc resume hangs", { skip }, async () => {
  const shim = await running("frozen");
  await shim.pause("frozen");
  gate.hold("resume");
  await shim.kill("frozen", 9);
  await gate.held("resume");
  const { body } = await place.events.arrived("/tasks/exit", "frozen");
  assert.equal(body.exitStatus, 137);
  assert.equal((await shim.state("frozen")).status, 3);
  gate.release("resume");
  await deleted(shim, "frozen");
});

test("the exit of a container in the host's pid namespace is published though runc kill hangs", {
  skip,
}, async () => {
  gate.hold("kill");
  const shim = await running("shared", { args: ["sh", "-c", "sleep 1; exit 5"], hostPid: true });
  await gate.held("kill");
  assert.equal((await shim.wait("shared")).exitStatus, 5);
  gate.release("kill");
  await deleted(shim, "shared");
});

test("Kill reaches the init though runc kill hangs", { skip }, async () => {
  const shim = await running("stubborn");
  gate.hold("kill");
  await shim.kill("stubborn", 9);
  assert.equal((await shim.wait("stubborn")).exitStatus, 137);
  gate.release("kill");
  await deleted(shim, "stubborn");
});

// A client that has its Delete's answer closes the connection: containerd told a kubelet that a Kill had failed, "ttrpc: closed".
test("a Kill that the runtime is still about is answered before the Delete of what it has killed", {
  skip,
}, async () => {
  const shim = await running("slowly");
  const answered: string[] = [];
  gate.linger("kill");
  const killing = shim.kill("slowly", 9).then(() => answered.push("Kill"));
  await shim.wait("slowly");
  await gate.held("kill");
  const deleting = shim.delete("slowly").then(() => answered.push("Delete"));
  // Longer than a Delete takes.
  await Promise.race([deleting, new Promise((next) => setTimeout(next, 1000))]);
  gate.release("kill");
  await Promise.all([killing, deleting]);
  assert.deepEqual(answered, ["Kill", "Delete"]);
  await place.forget(shim, "slowly");
});

test("a create whose undo hangs is answered, and the same id can be created again", { skip }, async () => {
  const shim = await place.shim("undone", SPEC);
  gate.linger("create");
  gate.hold("delete");
  const options = { options: { binaryName: gate.program } };
  const creating = refusal(Code.UNKNOWN, shim.create("undone", place.bundle("undone"), options));
  process.kill(await gate.held("create"), "SIGKILL");
  await gate.held("delete");
  await creating;
  gate.releaseAll();
  await shim.create("undone", place.bundle("undone"), options);
  await place.endContainer(shim, "undone");
  await place.forget(shim, "undone");
});

test("a runc start that hangs does not hold up the Delete of a container that has ended", {
  skip,
}, async () => {
  const shim = await place.shim("overtaken", { args: ["sh", "-c", "exit 5"] });
  await shim.create("overtaken", place.bundle("overtaken"), { options: { binaryName: gate.program } });
  gate.linger("start");
  const starting = refusal(Code.UNKNOWN, shim.start("overtaken"));
  assert.equal((await shim.wait("overtaken")).exitStatus, 5);
  assert.equal((await shim.delete("overtaken")).exitStatus, 5);
  assert.match(await starting, /OCI runtime start failed/);
  gate.release("start");
  await place.forget(shim, "overtaken");
});

test("a Delete whose runc delete hangs is answered with an error, and can be asked for again", {
  skip,
}, async () => {
  const shim = await running("held-on");
  await shim.kill("held-on", 9);
  await shim.wait("held-on");
  gate.hold("delete");
  assert.match(await refusal(Code.UNKNOWN, shim.delete("held-on")), /delete held-on hung/);
  assert.ok(existsSync(place.runtimeState("held-on")));
  gate.release("delete");
  await deleted(shim, "held-on");
});

test("Pids names what is known though runc ps hangs", { skip }, async () => {
  const shim = await running("unlisted");
  const { pid } = await shim.state("unlisted");
  gate.hold("ps");
  assert.deepEqual(
    (await shim.pids("unlisted")).processes.map((process) => process.pid),
    [pid],
  );
  gate.release("ps");
  await place.endContainer(shim, "unlisted");
  await place.forget(shim, "unlisted");
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
