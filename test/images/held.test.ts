// What a lease holds of snapshots that others have made, and what a clean-up of snapshots leaves.
import assert from "node:assert/strict";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import type { DaemonClient } from "../../src/cli/containers/daemon-client.ts";
import { Code } from "../../src/ttrpc/status.ts";
import { Daemon } from "../harness/daemon.ts";
import { ImagesClient } from "./client.ts";

const daemon = await Daemon.start({ kind: "holdfastd" });
const client = await ImagesClient.connect(daemon.address, daemon.namespace);
const all = client.daemon;
after(async () => {
  client.close();
  await daemon.close();
});
const snapshotter = "overlayfs";

async function lease(id: string): Promise<DaemonClient> {
  await all.leases.create({ id, labels: {} });
  return all.underLease(id);
}

const prepare = (owner: DaemonClient, key: string, labels: Record<string, string> = {}): Promise<unknown> =>
  owner.snapshots.prepare({ snapshotter, key, parent: "", labels });
const isTaken = (call: Promise<unknown>, says: RegExp): Promise<void> =>
  assert.rejects(call, (error: { code?: number; details?: string }) => {
    assert.equal(error.code, Code.ALREADY_EXISTS);
    assert.match(error.details ?? "", says);
    return true;
  });
const held = async (id: string): Promise<string[]> =>
  (await all.leases.listResources({ id })).resources.map((each) => each.id).sort();

async function keys(): Promise<string[]> {
  const found: string[] = [];
  for await (const { info } of all.snapshots.list({ snapshotter, filters: [] }))
    found.push(...info.map(({ name }) => name));
  return found.sort();
}

test("whoever hears that a snapshot is there has it on the lease, and it stays when its maker's lease goes", async () => {
  const maker = await lease("maker");
  await prepare(maker, "work");
  await maker.snapshots.commit({ snapshotter, name: "base", key: "work", labels: {}, parent: "" });
  await prepare(maker, "active");
  const target = await lease("target");
  // The target is said before the key, which is taken too.
  await isTaken(
    prepare(target, "active", { "containerd.io/snapshot.ref": "base" }),
    /target snapshot "base"/,
  );
  assert.deepEqual(await held("target"), ["base"]);
  const key = await lease("key");
  await isTaken(prepare(key, "active"), /snapshot "active"/);
  assert.deepEqual(await held("key"), ["active"]);
  const late = await lease("late");
  await prepare(late, "same");
  await isTaken(
    late.snapshots.commit({ snapshotter, name: "base", key: "same", labels: {}, parent: "" }),
    /snapshot "base"/,
  );
  assert.deepEqual(await held("late"), ["base", "same"]);
  for (const [gone, left] of [
    ["maker", ["active", "base", "same"]],
    ["key", ["base", "same"]],
    ["target", ["base", "same"]],
    ["late", []],
  ] as const) {
    await all.leases.delete({ id: gone, sync: true });
    assert.deepEqual(await keys(), left, `without ${gone}`);
  }
});

test("a clean-up of snapshots takes files that are on no record, and nothing that a client has made under no lease", async () => {
  await prepare(all, "made");
  const digest = await client.put("blob", Buffer.from("made"));
  const directory = join(daemon.directory, "root/snapshots/overlayfs/snapshots");
  const [own = assert.fail()] = readdirSync(directory);
  for (const stray of ["4711", "new-4712", "rm-4713"])
    mkdirSync(join(directory, stray, "fs"), { recursive: true });
  await all.snapshots.cleanup({ snapshotter });
  assert.deepEqual(readdirSync(directory), [own]);
  assert.deepEqual(await keys(), ["made"]);
  await all.content.info({ digest });
});
