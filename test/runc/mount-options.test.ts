// fstab-style options as mount(2) gets them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseMountOptions } from "../../src/runc/mount-options.ts";

test("flags, propagation, loop and data are told apart", () => {
  assert.deepEqual(
    parseMountOptions("ext4", [
      "rbind",
      "ro",
      "nosuid",
      "rprivate",
      "loop",
      "defaults",
      "size=1m",
      "mode=755",
    ]),
    {
      flags: 4096 | 16384 | 1 | 2,
      propagation: (1 << 18) | 16384,
      loop: true,
      data: "size=1m,mode=755",
    },
  );
});

test("a later option takes an earlier one back", () => {
  assert.equal(parseMountOptions("tmpfs", ["ro", "nodev", "rw", "dev", "noatime", "atime"]).flags, 0);
});

test("lower directories that are too long for the kernel become relative to the one they share", () => {
  const base = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";
  const lower = Array.from({ length: 120 }, (_, index) => `${base}/${index}/fs`);
  const options = parseMountOptions("overlay", [`lowerdir=${lower.join(":")}`, "upperdir=/u", "workdir=/w"]);
  assert.equal(options.directory, `${base}/`);
  assert.ok(options.data.length < 4096);
  const relative = options.data.slice("lowerdir=".length, options.data.indexOf(",")).split(":");
  assert.deepEqual(
    relative.map((path) => options.directory + path),
    lower,
  );
  assert.ok(options.data.endsWith(",upperdir=/u,workdir=/w"));
});

test("what lower directories share ends at a slash, though their names go on alike", () => {
  const base = "/var/lib/layers";
  // One is the beginning of all others, one has the same name and more.
  const names = ["layer", "layer/fs", ...Array.from({ length: 200 }, (_, index) => `layer-${index}/diff`)];
  const lower = names.map((name) => `${base}/${name}`);
  const { directory, data } = parseMountOptions("overlay", [`lowerdir=${lower.join(":")}`]);
  assert.deepEqual([directory, data], [`${base}/`, `lowerdir=${names.join(":")}`]);
});

test("what cannot be made short enough is refused with its size", () => {
  const lower = Array.from({ length: 40 }, (_, index) => `/${index}/${"x".repeat(200)}`);
  assert.throws(
    () => parseMountOptions("overlay", [`lowerdir=${lower.join(":")}`]),
    /mount options of \d+ bytes are too long/,
  );
  assert.throws(() => parseMountOptions("tmpfs", ["x".repeat(5000)]), /too long: tmpfs/);
});
