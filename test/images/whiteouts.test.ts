// Whiteouts and opaque directories (the OCI image specification's layer.md): what they take away of lower layers, and what of their own layer they leave. On
// overlays and on plain directories the same is to be seen.
import assert from "node:assert/strict";
import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { SnapshotMount } from "../../src/images/mount.ts";
import { Overlay } from "../../src/images/overlay.ts";
import { RootFiles } from "../../src/images/root-files.ts";
import { type Entry, tar } from "./tar.ts";
import { bindOf, fresh, into, onTopOf, PROGRAM, scratch, unpack } from "./unpacked.ts";

const lower: Entry[] = [
  { name: "d/", type: "5" },
  { name: "d/one", data: "1" },
  { name: "d/two", data: "2" },
  { name: "e/", type: "5" },
  { name: "e/f/", type: "5" },
  { name: "e/f/g", data: "g" },
  { name: "keep", data: "keep" },
];

test("a whiteout hides a file or a directory of the layer below", async () => {
  const { upper } = await onTopOf(lower, tar([{ name: "d/.wh.one" }, { name: ".wh.e" }]));
  assert.ok(lstatSync(join(upper, "d/one")).isCharacterDevice());
  assert.ok(lstatSync(join(upper, "e")).isCharacterDevice());
  assert.ok(!existsSync(join(upper, "d/two")));
});

test("an opaque directory hides all below it, and keeps what its own layer has made, before and after", async () => {
  const { upper } = await onTopOf(
    lower,
    tar([
      { name: "d/", type: "5" },
      { name: "d/early", data: "e" },
      { name: "d/.wh..wh..opq" },
      { name: "d/late", data: "l" },
      { name: "e/f/own", data: "o" },
      { name: "e/.wh..wh..opq" },
    ]),
  );
  assert.deepEqual(readdirSync(join(upper, "d")).sort(), ["early", "late", "one", "two"]);
  assert.ok(lstatSync(join(upper, "d/one")).isCharacterDevice());
  assert.ok(lstatSync(join(upper, "e/f/g")).isCharacterDevice());
  assert.equal(readFileSync(join(upper, "e/f/own"), "utf8"), "o");
});

for (const name of [".wh.", ".wh..", ".wh...", "d/.wh..."]) {
  test(`a whiteout called ${name} is refused`, async () => {
    await assert.rejects(into(tar([{ name }])), /whiteout of nothing/);
  });
}

/** Every path that is to be seen there. */
async function paths(mounts: readonly SnapshotMount[]): Promise<string[]> {
  const files = new RootFiles(PROGRAM, join(scratch, "scratch"));
  const changes = await files.changes([bindOf(fresh("empty"))], mounts);
  return changes
    .filter(({ kind }) => kind === "A")
    .map(({ path }) => path.slice(1))
    .sort();
}

/** What is to be seen of two layers. */
async function stacked(below: readonly Entry[], above: readonly Entry[]): Promise<string[]> {
  const overlay = new Overlay(fresh("overlay"));
  await overlay.make("1", "active", []);
  await unpack(tar(below), overlay.mounts("1", "active", []));
  await overlay.make("2", "active", ["1"]);
  await unpack(tar(above), overlay.mounts("2", "active", ["1"]));
  const directory = [bindOf(fresh("plain"))];
  for (const layer of [below, above]) await unpack(tar(layer), directory);
  const seen = await paths(overlay.mounts("2", "active", ["1"]));
  assert.deepEqual(await paths(directory), seen, "a plain directory has something else");
  return seen;
}

const linked: Entry[] = [
  ...lower,
  { name: "l", type: "2", link: "d" },
  { name: "top", type: "2", link: "/" },
];

/** What the layer has, and what is to be seen of it and of those below. */
const CASES: Record<string, readonly [Entry[], Entry[], string[]]> = {
  "a file that its own layer adds before it": [
    lower,
    [{ name: "d/own" }, { name: "d/.wh.own" }, { name: "keep", data: "own" }, { name: ".wh.keep" }],
    ["d", "d/one", "d/own", "d/two", "e", "e/f", "e/f/g", "keep"],
  ],
  "a file that its own layer adds after it": [
    lower,
    [{ name: ".wh.keep" }, { name: "keep", data: "own" }, { name: "d/.wh.own" }, { name: "d/own" }],
    ["d", "d/one", "d/own", "d/two", "e", "e/f", "e/f/g", "keep"],
  ],
  "a directory in which its own layer has put a file before": [
    lower,
    [{ name: "e/f/own" }, { name: ".wh.e" }],
    ["d", "d/one", "d/two", "e", "e/f", "e/f/own", "keep"],
  ],
  "a directory in which its own layer puts a file after it": [
    lower,
    [{ name: ".wh.e" }, { name: "e/f/own" }],
    ["d", "d/one", "d/two", "e", "e/f", "e/f/own", "keep"],
  ],
  "what is not there, in what is not there, and below a file": [
    lower,
    [{ name: ".wh.none" }, { name: "none/.wh.x" }, { name: "keep/.wh.x" }, { name: "none/.wh..wh..opq" }],
    ["d", "d/one", "d/two", "e", "e/f", "e/f/g", "keep"],
  ],
  "a file, by a link to its directory": [
    linked,
    [{ name: "l/.wh.one" }, { name: "top/.wh.keep" }, { name: "top/e/f/.wh.g" }],
    ["d", "d/two", "e", "e/f", "l", "top"],
  ],
  "a link, and not what it leads to": [
    linked,
    [{ name: ".wh.l" }],
    ["d", "d/one", "d/two", "e", "e/f", "e/f/g", "keep", "top"],
  ],
  "all of a directory by a link, but what its own layer has put there by its own name or a link's": [
    linked,
    [
      { name: "d/own" },
      { name: "l/other" },
      { name: "top/d/deep/third" },
      { name: "l/.wh..wh..opq" },
      { name: "l/late" },
    ],
    ["d", "d/deep", "d/deep/third", "d/late", "d/other", "d/own", "e", "e/f", "e/f/g", "keep", "l", "top"],
  ],
  "all of the root, but what its own layer has": [
    lower,
    [{ name: "e/own" }, { name: ".wh..wh..opq" }, { name: "late" }],
    ["e", "e/own", "late"],
  ],
  "nothing by what aufs has left": [
    lower,
    [
      { name: ".wh..wh.plnk/", type: "5" },
      { name: ".wh..wh.plnk/12.34", data: "x" },
      { name: "linked", type: "1", link: ".wh..wh.plnk/12.34" },
      { name: ".wh..wh.aufs" },
      { name: ".wh..wh.orph/9", data: "x" },
      { name: "d/.wh..wh.orph" },
    ],
    ["d", "d/one", "d/two", "e", "e/f", "e/f/g", "keep", "linked"],
  ],
};

for (const [what, [below, above, expected]] of Object.entries(CASES)) {
  test(`a whiteout hides ${what}`, async () => assert.deepEqual(await stacked(below, above), expected));
}

test("a whiteout in a directory that is reached by a link out of the root hides nothing there", async () => {
  const outside = fresh("outside");
  await unpack(tar([{ name: "file", data: "kept" }]), [bindOf(outside)]);
  const root = await into(tar([{ name: "out", type: "2", link: outside }]));
  await unpack(tar([{ name: "out/.wh.file" }, { name: "out/.wh..wh..opq" }]), [bindOf(root)]);
  assert.equal(readFileSync(join(outside, "file"), "utf8"), "kept");
});
