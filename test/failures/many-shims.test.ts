// As many shims at once as a busy host has. Numbers are issues of containerd/containerd.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Playground } from "../harness/direct-shim.ts";
import { inParallel } from "../harness/parallel.ts";
import { openFiles } from "../harness/processes.ts";
import { failsOnGoShim } from "../harness/runtime.ts";
import type { ShimClient } from "../harness/shim-client.ts";
import { times } from "./size.ts";

const place = await Playground.create();
after(() => place.close());

function inotifyInstances(pid: number): number {
  return openFiles(pid).filter((kind) => kind.includes("inotify")).length;
}

// In full more than the 128 instances that a user has by default; in short, all that would count is counted.
test("two hundred shims side by side, each told of its container's OOM and end, use no inotify instance (5670, 10468)", {
  skip: failsOnGoShim("the init's exit may come before the OOM"),
}, async () => {
  const ids = Array.from({ length: times(40, 200) }, (_, index) => `many-${index}`);
  const shims = new Map<string, ShimClient>();
  await inParallel(4, ids, async (id) => {
    const shim = await place.shim(id, { args: ["sleep", "100000"], memoryLimitBytes: 16 << 20 });
    shims.set(id, shim);
    await shim.create(id, place.bundle(id));
    await shim.start(id);
  });
  await inParallel(4, shims, async ([id, shim]) => {
    assert.equal(inotifyInstances((await shim.connect(id)).shimPid), 0);
    await shim.exec(id, "eater", ["tail", "/dev/zero"]);
    await shim.start(id, "eater");
    assert.equal((await shim.wait(id, "eater")).exitStatus, 137);
    await shim.kill(id, 9);
    await place.events.arrived("/tasks/exit", id, id);
    const order = place.events.order(id);
    assert.ok(order.includes("oom") && order.indexOf("oom") < order.indexOf("exit eater"), order.join(", "));
    assert.equal(order.at(-1), "exit");
    await shim.delete(id);
    await place.forget(shim, id);
  });
});

test("nothing is left behind", async () => {
  assert.equal(await place.leftovers(), "");
});
