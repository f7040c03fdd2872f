// Root file systems as newer daemons ask for them: mounts with a target inside, options that are not the kernel's, and owners mapped for a user namespace.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chownSync, cpSync, existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Mount } from "../../src/api/generated/mount.ts";
import { Code } from "../../src/ttrpc/status.ts";
import { Playground } from "../harness/direct-shim.ts";
import { mountsBelow } from "../harness/leftovers.ts";
import { failsOnGoShim } from "../harness/runtime.ts";
import { refusal, type ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
after(() => place.close());

const mount = (fields: Partial<Mount>): Mount => ({
  type: "tmpfs",
  source: "tmpfs",
  target: "",
  options: [],
  ...fields,
});
const directory = (name: string): string => {
  const path = join(place.directory, name);
  mkdirSync(path, { recursive: true });
  return path;
};
const skip = failsOnGoShim("containerd 1.6's library knows nothing of it");

/** A shim whose container has the bundle's own rootfs as its root. */
function shimOf(id: string): Promise<ShimClient> {
  return place.shim(id, { args: ["sleep", "1000"], rootfs: "rootfs" });
}

async function finish(shim: ShimClient, id: string): Promise<void> {
  await place.endContainer(shim, id);
  assert.deepEqual(mountsBelow(place.bundle(id)), []);
  await place.forget(shim, id);
}

test("a mount with a target is made inside the root file system, and undone with it", { skip }, async () => {
  const shim = await shimOf("targets");
  const extra = directory("extra");
  writeFileSync(join(extra, "file"), "content");
  const rootfs = [
    mount({ type: "bind", source: place.rootfs, options: ["rbind"] }),
    mount({ target: "/run", options: ["size=1m"] }),
    mount({ type: "bind", source: extra, target: "tmp", options: ["rbind", "ro", "rprivate"] }),
  ];
  await shim.create("targets", place.bundle("targets"), { rootfs });
  const root = join(place.bundle("targets"), "rootfs");
  assert.equal(spawnSync("cat", [join(root, "tmp/file")], { encoding: "utf8" }).stdout, "content");
  assert.throws(() => writeFileSync(join(root, "tmp/other"), ""), /EROFS/);
  writeFileSync(join(root, "run/file"), "");
  assert.ok(statSync(extra).isDirectory());
  await shim.start("targets");
  await finish(shim, "targets");
});

test("no link in an image leads a mount out of the root file system", { skip }, async () => {
  const shim = await shimOf("links");
  const outside = directory("outside");
  const image = directory("image");
  cpSync(place.rootfs, image, { recursive: true, verbatimSymlinks: true });
  symlinkSync(outside, join(image, "absolute"));
  symlinkSync("../".repeat(20) + outside.slice(1), join(image, "relative"));
  mkdirSync(join(image, outside), { recursive: true });
  const rootfs = ["absolute", "relative", "/../../absolute"].map((target) => mount({ target }));
  rootfs.unshift(mount({ type: "bind", source: image, options: ["rbind"] }));
  await shim.create("links", place.bundle("links"), { rootfs });
  assert.deepEqual(mountsBelow(outside), []);
  const inside = join(place.bundle("links"), "rootfs", outside);
  assert.ok(mountsBelow(place.bundle("links")).some((point) => point === inside));
  await finish(shim, "links");
});

test("a target that is not there fails the Create, and what was mounted is undone, also without a mount at the root", {
  skip,
}, async () => {
  const shim = await shimOf("targetless");
  mkdirSync(join(place.bundle("targetless"), "rootfs", "sub"));
  const rootfs = [mount({ target: "sub" }), mount({ target: "nonesuch" })];
  const creating = shim.create("targetless", place.bundle("targetless"), { rootfs });
  assert.match(
    await refusal(Code.UNKNOWN, creating),
    /failed to mount rootfs component tmpfs tmpfs: .*nonesuch/,
  );
  assert.deepEqual(mountsBelow(place.bundle("targetless")), []);
  await place.forget(shim, "targetless");
});

test("options for programs that read them are not told to the kernel", { skip }, async () => {
  const shim = await shimOf("commented");
  const lower = place.rootfs;
  const options = [`lowerdir=${lower}`, `upperdir=${directory("cu")}`, `workdir=${directory("cw")}`];
  const rootfs = [
    mount({
      type: "overlay",
      options: ["X-containerd.mkdir.path=/x:0700", ...options, "x-systemd.automount"],
    }),
  ];
  await shim.create("commented", place.bundle("commented"), { rootfs });
  await finish(shim, "commented");
});

test("more lower directories than the kernel takes by their whole names, which begin alike", async () => {
  const shim = await shimOf("alike");
  const names = Array.from({ length: 70 }, (_, index) => `layer-${"x".repeat(32)}-${index}`);
  const lower = names.map((name) => directory(name));
  writeFileSync(join(lower.at(-1) ?? "", "from-the-last"), "");
  cpSync(place.rootfs, lower[0] ?? "", { recursive: true, verbatimSymlinks: true });
  const option = `lowerdir=${lower.join(":")}`;
  assert.ok(option.length > 4096);
  await shim.create("alike", place.bundle("alike"), {
    rootfs: [mount({ type: "overlay", source: "overlay", options: [option] })],
  });
  const root = join(place.bundle("alike"), "rootfs");
  assert.ok(existsSync(join(root, "from-the-last")) && existsSync(join(root, "bin/busybox")));
  await finish(shim, "alike");
});

const MAPPED = ["uidmap=0:100000:65536", "gidmap=0:200000:65536"];

/** Two layers whose files belong to root and to user 7. */
function layers(name: string): string[] {
  const [top, base] = [directory(`${name}-top`), directory(`${name}-base`)] as const;
  cpSync(place.rootfs, base, { recursive: true, verbatimSymlinks: true });
  writeFileSync(join(top, "seven"), "");
  chownSync(join(top, "seven"), 7, 8);
  return [top, base];
}

test("an overlay's lower directories are mapped for a user namespace, and nothing of that is left", {
  skip,
}, async () => {
  const shim = await shimOf("mapped");
  const lower = layers("mapped");
  const upper = directory("mapped-upper");
  chownSync(upper, 100_000, 200_000);
  const options = [...MAPPED, `lowerdir=${lower.join(":")}`, `upperdir=${upper}`];
  const rootfs = [
    mount({ type: "overlay", source: "overlay", options: [...options, `workdir=${directory("mw")}`] }),
  ];
  await shim.create("mapped", place.bundle("mapped"), { rootfs });
  const root = join(place.bundle("mapped"), "rootfs");
  assert.deepEqual(mountsBelow(place.bundle("mapped")), [root]);
  const owner = (path: string): number[] => {
    const { uid, gid } = statSync(path);
    return [uid, gid];
  };
  assert.deepEqual(owner(join(root, "seven")), [100_007, 200_008]);
  assert.deepEqual(owner(join(root, "bin")), [100_000, 200_000]);
  assert.deepEqual(owner(join(lower[0] ?? "", "seven")), [7, 8]);
  await shim.start("mapped");
  await finish(shim, "mapped");
});

test("a hundred lower directories can be mapped at once, and a bind mount as it is", { skip }, async () => {
  const shim = await shimOf("many");
  const lower = Array.from({ length: 100 }, (_, index) => directory(`a-layer-with-a-name/number-${index}`));
  lower.push(place.rootfs);
  const rootfs = [
    mount({ type: "overlay", options: [...MAPPED, `lowerdir=${lower.join(":")}`] }),
    mount({
      type: "bind",
      source: layers("many")[0] ?? "",
      target: "tmp",
      options: ["rbind", "ro", ...MAPPED],
    }),
  ];
  await shim.create("many", place.bundle("many"), { rootfs });
  const root = join(place.bundle("many"), "rootfs");
  assert.equal(statSync(join(root, "bin")).uid, 100_000);
  assert.equal(statSync(join(root, "tmp/seven")).uid, 100_007);
  assert.throws(() => writeFileSync(join(root, "tmp/other"), ""), /EROFS/);
  await finish(shim, "many");
});

test("mappings that are wrong, or half there, are refused with words, and leave no mount", {
  skip,
}, async () => {
  const shim = await shimOf("unmapped");
  const base = [`lowerdir=${place.rootfs}:${directory("more")}`];
  for (const [options, words] of [
    [["uidmap=0:1:2", ...base], /must come together/],
    [["uidmap=0:1:2", "gidmap=0:1", ...base], /id mapping 0:1: expected CONTAINER:HOST:SIZE/],
    [["uidmap=0:1:0x2", "gidmap=0:1:2", ...base], /id mapping 0:1:0x2/],
    [["uidmap=0:1:0", "gidmap=0:1:2", ...base], /uid_map/],
    [[...MAPPED, `lowerdir=${place.rootfs}:/nonexistent`], /open_tree .*nonexistent/],
    [[...MAPPED, "upperdir=/x"], /no lowerdir/],
  ] as const) {
    const rootfs = [mount({ type: "overlay", options: [...options] })];
    const creating = shim.create("unmapped", place.bundle("unmapped"), { rootfs });
    assert.match(await refusal(Code.UNKNOWN, creating), words);
    assert.deepEqual(mountsBelow(place.bundle("unmapped")), []);
  }
  await place.forget(shim, "unmapped");
});

test("delete removes the mapped lower directories that a shim that was killed has left", {
  skip,
}, async () => {
  await shimOf("killed").then((shim) => shim.close());
  const bundle = place.bundle("killed");
  mkdirSync(join(bundle, "lowerdirs", "0"), { recursive: true });
  assert.equal(spawnSync("mount", ["--bind", place.rootfs, join(bundle, "lowerdirs/0")]).status, 0);
  assert.equal((await place.delete("killed")).status, 0);
  assert.deepEqual(mountsBelow(bundle), []);
  assert.ok(statSync(join(place.rootfs, "bin/busybox")).isFile());
  await place.removeBundle("killed");
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
