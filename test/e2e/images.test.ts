// Containers whose root filesystem comes from a snapshotter: the shim mounts it at Create and unmounts it at Delete.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import { Daemon } from "../harness/daemon.ts";
import { IMAGE, importImage } from "../harness/image.ts";
import { mountsBelow } from "../harness/leftovers.ts";

const daemon = await Daemon.start();
const events = await daemon.events();
after(() => daemon.close());
await importImage(daemon);

for (const snapshotter of ["overlayfs", "native"]) {
  test(`a container runs from an image with the ${snapshotter} snapshotter, and its mount goes with it`, async () => {
    const id = `image-${snapshotter}`;
    await daemon.ctr.startImage(
      id,
      IMAGE,
      ["sh", "-c", "echo changed >/etc/mark; sleep 1000"],
      ["--snapshotter", snapshotter],
    );
    const mounted = join(daemon.bundle(id), "rootfs");
    assert.deepEqual(mountsBelow(daemon.bundle(id)), [mounted]);
    assert.equal((await daemon.ctr.exec(id, "look", ["ls", "/bin/busybox"])).stdout, "/bin/busybox\n");
    await daemon.ctr.kill(id, "SIGKILL");
    await events.exitOf(id);
    await daemon.ctr.delete(id);
    assert.deepEqual(mountsBelow(daemon.bundle(id)), []);
  });
}

test("a container that fails to start leaves its root filesystem unmounted", async () => {
  const output = await daemon.ctr.try(daemon.ctr.imageArgs("unstarted", IMAGE, ["nonesuch"], ["--rm"]));
  assert.notEqual(output.status, 0);
  assert.match(output.stderr, /OCI runtime create failed: .*nonesuch/);
  assert.deepEqual(mountsBelow(daemon.bundle("unstarted")), []);
});

test("nothing is left behind", async () => assert.equal(await daemon.leftovers(), ""));
