// What a container leaves in its snapshot goes, whatever it is; and what cannot be removed keeps nothing else.
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { LeasesDefinition } from "../../src/api/generated/leases.ts";
import { SnapshotsDefinition } from "../../src/api/generated/snapshots.ts";
import { check } from "../harness/command.ts";
import { Daemon } from "../harness/daemon.ts";
import { ImagesClient } from "./client.ts";

/** Deeper than a path can be long, than a process can have files open, and than a call can call itself. */
const DEPTH = 12_000;
const SNAPSHOTTER = "overlayfs";

const daemon = await Daemon.start({ kind: "holdfastd" });
const client = await ImagesClient.connect(daemon.address, daemon.namespace);
after(async () => {
  client.close();
  await daemon.close();
});
const { prepare, remove, usage } = SnapshotsDefinition.methods;
const kept = join(daemon.directory, "root/snapshots/overlayfs/snapshots");

/** Returns the directory of a new snapshot. */
async function made(key: string): Promise<string> {
  const request = { snapshotter: SNAPSHOTTER, key, parent: "", labels: {} };
  const { mounts } = await client.call(SnapshotsDefinition, prepare, request);
  return mounts[0]?.source ?? "";
}

let collections = 0;

async function collected(): Promise<void> {
  const id = `sweep-${++collections}`;
  await client.call(LeasesDefinition, LeasesDefinition.methods.create, { id, labels: {} });
  await client.call(LeasesDefinition, LeasesDefinition.methods.delete, { id, sync: true });
}

const removed = (key: string): Promise<unknown> =>
  client.call(SnapshotsDefinition, remove, { snapshotter: SNAPSHOTTER, key });

async function deepen(directory: string): Promise<void> {
  const script = `for (let i = 0; i < ${DEPTH}; i++) { require("node:fs").mkdirSync("d"); process.chdir("d"); }`;
  await check(["node", "-e", script], { cwd: directory });
}

test("a tree of any depth and with any names is removed, and its size can be asked", async () => {
  const directory = await made("deep");
  await deepen(directory);
  mkdirSync(join(directory, "wide"));
  for (let i = 0; i < 5000; i++) writeFileSync(join(directory, "wide", String(i)), "");
  // Names as those that the removal makes, and one that is no UTF-8.
  for (const name of ["0", "1"]) mkdirSync(join(directory, name, "full"), { recursive: true });
  writeFileSync(Buffer.concat([Buffer.from(`${directory}/wide/`), Buffer.from([0xff, 0xfe])]), "");
  const { inodes } = await client.call(SnapshotsDefinition, usage, { snapshotter: SNAPSHOTTER, key: "deep" });
  assert.ok(inodes > 5000n, String(inodes));
  await removed("deep");
  await collected();
  assert.deepEqual(readdirSync(kept), []);
});

test("collections at once do not take a tree out of each other's hands, and each ends when it is gone", async () => {
  await deepen(await made("shared"));
  await removed("shared");
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      await collected();
      assert.deepEqual(readdirSync(kept), []);
    }),
  );
});

test("what cannot be removed is named, and all else is removed", async () => {
  const [first, stuck, last] = [await made("first"), await made("stuck"), await made("last")];
  for (const directory of [first, stuck, last])
    mkdirSync(join(directory, "below/further"), { recursive: true });
  const busy = join(stuck, "busy");
  mkdirSync(busy);
  await check(["mount", "-t", "tmpfs", "tmpfs", busy]);
  writeFileSync(join(busy, "another's"), "");
  for (const key of ["first", "stuck", "last"]) await removed(key);
  await assert.rejects(collected(), /cannot remove .*\/rm-\d+: Device or resource busy/);
  const [left = "", ...others] = readdirSync(kept);
  assert.deepEqual(others, []);
  assert.deepEqual(readdirSync(join(kept, left, "fs")), ["busy"]);
  assert.deepEqual(readdirSync(join(kept, left, "fs/busy")), ["another's"]);
  await check(["umount", join(kept, left, "fs/busy")]);
  await collected();
  assert.deepEqual(readdirSync(kept), []);
});
