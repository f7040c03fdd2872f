// What a dead shim has left mounted on a bundle's rootfs: it may be a directory of the user's, and no removal may go through it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { BUNDLES } from "../../src/api/runtime-names.ts";
import { Bundle, removeRemains } from "../../src/manager/tasks/bundle.ts";
import { eventually } from "../harness/eventually.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-live-mounts-"));
const place = { root: join(directory, "root"), state: join(directory, "state") };
const skip = process.getuid?.() === 0 ? false : "needs root";
const mounted: string[] = [];
after(() => {
  for (const point of mounted.reverse().filter(isMounted)) execFileSync("umount", ["--lazy", point]);
  rmSync(directory, { recursive: true });
});

function isMounted(point: string): boolean {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .some((line) => line.split(" ")[4] === point);
}

function bind(from: string, to: string): void {
  execFileSync("mount", ["--bind", from, to]);
  mounted.push(to);
}

/** A directory of the user's with something in it. */
function usersDirectory(name: string): string {
  const path = join(directory, name);
  mkdirSync(join(path, "below"), { recursive: true });
  writeFileSync(join(path, "precious"), name);
  return path;
}

/** Bundles go in the background, under a hidden name. */
async function removed(state: string): Promise<void> {
  const directory = join(state, BUNDLES, "n");
  await eventually("the removal", () => !readdirSync(directory).some((name) => name.startsWith(".")));
}

function bundleOf(id: string, at = place): { bundle: Bundle; rootfs: string } {
  const bundle = new Bundle(at, "n", id);
  bundle.make(Buffer.from("{}"));
  return { bundle, rootfs: join(bundle.path, "rootfs") };
}

test("files of the user's that are still mounted on a bundle's rootfs survive its removal, a stack of them too", {
  skip,
}, async () => {
  const { bundle, rootfs } = bundleOf("stack");
  const users = ["first", "second", "third"].map(usersDirectory);
  bind(users[0] ?? "", rootfs);
  bind(users[1] ?? "", rootfs);
  bind(users[2] ?? "", join(rootfs, "below"));
  await bundle.remove();
  assert.ok(!isMounted(rootfs));
  assert.ok(!existsSync(bundle.path));
  await removed(place.state);
  for (const path of users) assert.ok(readFileSync(join(path, "precious"), "utf8"));
});

test("a rootfs that has files and no mount keeps them, and its bundle", { skip }, async () => {
  const { bundle, rootfs } = bundleOf("files");
  writeFileSync(join(rootfs, "precious"), "1");
  await assert.rejects(bundle.remove(), /ENOTEMPTY/);
  assert.equal(readFileSync(join(rootfs, "precious"), "utf8"), "1");
  assert.ok(existsSync(join(bundle.path, "config.json")));
});

test("files that are mounted elsewhere in the bundle survive its removal, as an image's layers that were mapped", {
  skip,
}, async () => {
  const { bundle } = bundleOf("layers");
  const layer = usersDirectory("layer");
  const point = join(bundle.path, "lower/0");
  mkdirSync(point, { recursive: true });
  bind(layer, point);
  await bundle.remove();
  assert.ok(!existsSync(bundle.path));
  await removed(place.state);
  assert.equal(readFileSync(join(layer, "precious"), "utf8"), "layer");
});

for (const name of ["with a blank", "back\\slash", "nu#mber", "ümlaut"]) {
  test(`what is mounted in a bundle is found where the kernel writes the path in its own way: ${name}`, {
    skip,
  }, async () => {
    const { bundle, rootfs } = bundleOf("named", {
      root: join(directory, name, "r"),
      state: join(directory, name, "s"),
    });
    const users = usersDirectory(`of ${name}`);
    bind(users, rootfs);
    await bundle.remove();
    assert.ok(!existsSync(bundle.path));
    await removed(join(directory, name, "s"));
    assert.equal(readFileSync(join(users, "precious"), "utf8"), `of ${name}`);
  });
}

test("what is mounted beside the bundle stays mounted", { skip }, async () => {
  const { bundle } = bundleOf("beside");
  const beside = `${bundle.path}-of-somebody-else`;
  mkdirSync(beside);
  bind(usersDirectory("other"), beside);
  await bundle.remove();
  assert.ok(isMounted(beside));
});

test("halves of removals that something is mounted in are removed without it", { skip }, async () => {
  const half = join(place.state, BUNDLES, "n", ".half.1234/lower");
  mkdirSync(half, { recursive: true });
  const layer = usersDirectory("half");
  bind(layer, half);
  await removeRemains(place);
  assert.ok(!existsSync(half));
  assert.equal(readFileSync(join(layer, "precious"), "utf8"), "half");
});
