// Layers unpacked by the real program, into directories of the test file's own that go with it.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { LayerProgram, type Unpacked, type UnpackLimits } from "../../src/images/layer-program.ts";
import type { SnapshotMount } from "../../src/images/mount.ts";
import { Overlay } from "../../src/images/overlay.ts";
import { type Entry, tar } from "./tar.ts";

export const PROGRAM: string = join(import.meta.dirname, "../../dist/holdfast-layer");
export const scratch: string = mkdtempSync(join(tmpdir(), "holdfast-layers-"));
after(() => rmSync(scratch, { recursive: true, force: true }));

let count = 0;
export const fresh = (name: string): string => {
  const path = join(scratch, `${name}-${count++}`);
  mkdirSync(path);
  return path;
};
export const bindOf = (directory: string): SnapshotMount => ({
  type: "bind",
  source: directory,
  target: "",
  options: ["rw", "rbind"],
});

export function unpack(
  layer: Buffer,
  mounts: readonly SnapshotMount[],
  limits?: UnpackLimits,
): Promise<Unpacked> {
  const file = join(scratch, `layer-${count++}`);
  writeFileSync(file, layer);
  return new LayerProgram(PROGRAM, join(scratch, "scratch"), limits).unpack(file, mounts);
}

/** Unpacks into an empty directory, which it returns. */
export async function into(layer: Buffer, limits?: UnpackLimits): Promise<string> {
  const directory = fresh("root");
  await unpack(layer, [bindOf(directory)], limits);
  return directory;
}

/** Unpacks a layer on top of another one, and gives the directory of what it made. */
export async function onTopOf(lower: readonly Entry[], layer: Buffer): Promise<{ upper: string }> {
  const overlay = new Overlay(fresh("overlay"));
  await overlay.make("1", "active", []);
  await unpack(tar(lower), overlay.mounts("1", "active", []));
  await overlay.make("2", "active", ["1"]);
  const mounts = overlay.mounts("2", "active", ["1"]);
  await unpack(layer, mounts);
  return { upper: mounts[0]?.options.find((option) => option.startsWith("upperdir="))?.slice(9) ?? "" };
}
