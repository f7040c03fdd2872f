// How a snapshot is mounted: which directories, in which order, and who may write.
import assert from "node:assert/strict";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { LayerProgram } from "../../src/images/layer-program.ts";
import { Overlay } from "../../src/images/overlay.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-overlay-"));
after(() => rmSync(directory, { recursive: true }));
const overlay = new Overlay(directory);
const files = (id: string): string => join(directory, "snapshots", id, "fs");
const optionsOf = (kind: "active" | "view", parents: readonly string[]): readonly string[] =>
  overlay.mounts("9", kind, parents)[0]?.options ?? [];

test("without a parent it is the directory itself, and a view of it cannot be written to", () => {
  assert.deepEqual([...optionsOf("active", [])].sort(), ["rbind", "rw"]);
  assert.deepEqual([...optionsOf("view", [])].sort(), ["rbind", "ro"]);
});

test("a view of one layer is that layer, and cannot be written to", () => {
  const [mount] = overlay.mounts("9", "view", ["1"]);
  assert.equal(mount?.source, files("1"));
  assert.deepEqual([...(mount?.options ?? [])].sort(), ["rbind", "ro"]);
});

test("the nearest layer is the uppermost of the lower ones; only what is active has an upper one", () => {
  const lower = `lowerdir=${["3", "2", "1"].map(files).join(":")}`;
  assert.ok(optionsOf("active", ["3", "2", "1"]).includes(lower));
  assert.ok(optionsOf("active", ["3", "2", "1"]).includes(`upperdir=${files("9")}`));
  assert.deepEqual(
    optionsOf("view", ["3", "2", "1"]).filter((option) => option.includes("dir=")),
    [lower],
  );
});

test("the root of a snapshot has its parent's owner and mode", async () => {
  await overlay.make("1", "active", []);
  chownSync(files("1"), 7, 8);
  chmodSync(files("1"), 0o1750);
  await overlay.make("2", "active", ["1"]);
  const { uid, gid, mode } = statSync(files("2"));
  assert.deepEqual([uid, gid, mode & 0o7777], [7, 8, 0o1750]);
});

test("as many layers are mounted as the kernel takes, though their names take more than a page; more are refused with words", async () => {
  const program = new LayerProgram(
    join(import.meta.dirname, "../../dist/holdfast-layer"),
    join(directory, "scratch"),
  );
  const ids = (count: number, first: number): string[] =>
    Array.from({ length: count }, (_, index) => String(first + index));
  const mounted = async (id: string, parents: readonly string[]): Promise<void> => {
    for (const parent of parents) mkdirSync(files(parent), { recursive: true });
    await overlay.make(id, "active", parents);
    const mounts = overlay.mounts(id, "active", parents);
    assert.ok((mounts[0]?.options.join(",") ?? "").length > 4096);
    await program.tryMounts(mounts);
  };
  await mounted("50", ids(127, 1001));
  await mounted("51", ids(500, 1001));
  await assert.rejects(overlay.make("52", "active", ids(501, 1001)), /501 layers: an overlay can have 500/);
  await assert.rejects(mounted("53", ids(500, 1_000_001)), /more than a page of options/);
});
