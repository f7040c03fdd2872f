// Several containers in one shim, as in a pod: the group annotation, one life each, and an end of the shim with the last of them.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, test } from "node:test";
import { Daemon } from "../harness/daemon.ts";
import { exitStatusOf } from "../harness/events.ts";
import { eventually } from "../harness/eventually.ts";
import { shimSocket } from "../harness/leftovers.ts";
import { isRunning } from "../harness/processes.ts";

const daemon = await Daemon.start();
const events = await daemon.events();
after(() => daemon.close());

function groupFlags(annotation: string, group: string): string[] {
  return ["--annotation", `${annotation}=${group}`];
}

for (const annotation of ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"]) {
  const group = annotation.includes("kubernetes") ? "pod" : "group";
  const flags = groupFlags(annotation, group);

  test(`containers with the same ${annotation} share one shim, which ends with the last of them`, async () => {
    const ids = ["first", "second", "third"].map((name) => `${group}-${name}`);
    for (const id of ids) await daemon.ctr.start(id, ["sleep", "1000"], { flags });
    const shims = await Promise.all(ids.map((id) => daemon.shimPid(id)));
    assert.equal(new Set(shims).size, 1);
    const [shim = -1] = shims;
    const socket = shimSocket(daemon.address, daemon.namespace, group);
    assert.ok(existsSync(socket), `no socket ${socket}`);

    const [first = "", second = "", third = ""] = ids;
    await daemon.ctr.remove(first);
    assert.equal((await daemon.ctr.exec(second, "e", ["sh", "-c", "exit 4"])).status, 4);
    await daemon.ctr.kill(second, "SIGKILL");
    assert.equal(exitStatusOf(await events.exitOf(second)), 137);
    await daemon.ctr.delete(second);
    assert.deepEqual(
      (await daemon.ctr.tasks()).map((task) => [task.id, task.status]),
      [[third, "RUNNING"]],
    );
    assert.ok(isRunning(shim));
    await daemon.ctr.remove(third);
    await eventually("the shim to end", () => !isRunning(shim));
    await eventually("its socket to go", () => !existsSync(socket));
  });
}

test("containers of different groups, and those without one, have a shim each", async () => {
  await daemon.ctr.start("alone", ["sleep", "1000"]);
  await daemon.ctr.start("one", ["sleep", "1000"], {
    flags: groupFlags("io.containerd.runc.v2.group", "group-one"),
  });
  await daemon.ctr.start("two", ["sleep", "1000"], {
    flags: groupFlags("io.containerd.runc.v2.group", "group-two"),
  });
  const ids = ["alone", "one", "two"];
  const shims = await Promise.all(ids.map((id) => daemon.shimPid(id)));
  assert.equal(new Set(shims).size, 3);
  for (const id of ids) await daemon.ctr.remove(id);
});

test("a group can be used again after its shim has ended", async () => {
  const flags = groupFlags("io.containerd.runc.v2.group", "reused");
  for (const id of ["reused-one", "reused-two"]) {
    await daemon.ctr.start(id, ["sleep", "1000"], { flags });
    const shim = await daemon.shimPid(id);
    await daemon.ctr.remove(id);
    await eventually("the shim to end", () => !isRunning(shim));
  }
});

test("the containers of a group come back after the daemon was killed", async () => {
  const flags = groupFlags("io.containerd.runc.v2.group", "back");
  for (const id of ["back-one", "back-two"]) await daemon.ctr.start(id, ["sleep", "1000"], { flags });
  const before = await daemon.shimPid("back-one");
  await daemon.crashAndRestart();
  const again = await daemon.events();
  for (const id of ["back-one", "back-two"]) {
    assert.equal(await daemon.shimPid(id), before);
    assert.equal((await daemon.ctr.exec(id, "e", ["sh", "-c", "exit 5"])).status, 5);
    await daemon.ctr.kill(id, "SIGKILL");
    assert.equal(exitStatusOf(await again.exitOf(id)), 137);
    await daemon.ctr.delete(id);
  }
  await eventually("the shim to end", () => !isRunning(before));
});

test("nothing is left behind", async () => assert.equal(await daemon.leftovers(), ""));
