// Which differences of a container's files are its user's, and which the runtime has made for mounts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { madeByUsers, mountPointsOf } from "../../src/cli/containers/changes.ts";
import type { Change } from "../../src/images/root-files.ts";

const changes = (...lines: string[]): Change[] =>
  lines.map((line) => ({ kind: line.slice(0, 1) as Change["kind"], path: line.slice(2) }));
const made = (lines: string[], ...points: string[]): string[] =>
  madeByUsers(changes(...lines), points).map(({ kind, path }) => `${kind} ${path}`);

test("mount points that were added go, with the directories that lead to them alone", () => {
  assert.deepEqual(made(["A /proc", "A /a", "A /a/b", "A /a/b/c"], "/proc", "/a/b/c"), []);
  assert.deepEqual(made(["P /etc", "A /etc/hosts"], "/etc/hosts"), []);
  assert.deepEqual(made(["P /etc", "P /etc/deep", "A /etc/deep/x"], "/etc/deep/x"), []);
});

test("what stands beside or in a mount point stays, with what leads to it", () => {
  assert.deepEqual(made(["A /a", "A /a/b", "A /a/own"], "/a/b"), ["A /a", "A /a/own"]);
  assert.deepEqual(made(["P /etc", "A /etc/hosts", "D /etc/old"], "/etc/hosts"), ["C /etc", "D /etc/old"]);
  assert.deepEqual(made(["A /a", "A /a/b", "A /a/b/under"], "/a/b"), ["A /a", "A /a/b", "A /a/b/under"]);
});

test("what is changed or deleted stays, also where something is mounted", () => {
  assert.deepEqual(made(["C /etc", "A /etc/hosts", "C /var", "D /x"], "/etc/hosts", "/var", "/x"), [
    "C /etc",
    "C /var",
    "D /x",
  ]);
  // A name that only begins like one.
  assert.deepEqual(made(["A /data2", "A /dat"], "/data"), ["A /data2", "A /dat"]);
});

test("mount points are as the runtime takes them", () => {
  const mounts = ["/proc", "/data/", "relative/../rel", "//twice//", "/"].map((destination) => ({
    destination,
  }));
  assert.deepEqual(mountPointsOf({ mounts }), ["/proc", "/data", "/rel", "/twice", "/"]);
  assert.deepEqual(mountPointsOf({}), []);
  assert.deepEqual(mountPointsOf({ mounts: [null, {}] }), []);
});
