// Records of images, over a real store: they are read when the first is wanted, so that a daemon with many of them starts as fast as one with none.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { open } from "lmdb";
import { Store } from "../../src/manager/records/store.ts";
import type { BadRecord } from "../../src/manager/records/table.ts";
import { eventually } from "../harness/eventually.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-records-"));
after(() => rmSync(directory, { recursive: true }));

const NS = "n";
const record = (size: number) => ({ size, createdAt: "1", updatedAt: "1", labels: {} });

test("what is on record of images is read with the first that is wanted; one that is damaged is set aside then, and the rest is there", async () => {
  const first = new Store(directory);
  await first.load(({ reason }) => assert.fail(reason));
  for (const [id, size] of [
    ["sound", 1],
    ["damaged", 2],
    ["other", 3],
  ] as const)
    await first.contents.insert(NS, id, record(size));
  await first.close();

  const raw = open({ path: join(directory, "store.mdb"), encoding: "binary", maxDbs: 16 });
  const records = raw.openDB<Buffer, [string, string]>({ name: "contents", encoding: "binary" });
  const bytes = Buffer.from(records.get([NS, "damaged"]) ?? []);
  bytes[20] = (bytes[20] ?? 0) ^ 1;
  await records.put([NS, "damaged"], bytes);
  await raw.close();

  const bad: BadRecord[] = [];
  const second = new Store(directory);
  await second.load((each) => void bad.push(each));
  assert.deepEqual(bad, []);
  assert.deepEqual(second.contents.ids(NS), ["other", "sound"]);
  await eventually("the word of the damaged one", () => bad.length > 0);
  assert.deepEqual(
    bad.map(({ kind, id }) => [kind, id]),
    [["content", "damaged"]],
  );
  await second.contents.insert(NS, "damaged", record(4));
  await second.close();

  const third = new Store(directory);
  await third.load(({ reason }) => assert.fail(reason));
  assert.equal(third.contents.get(NS, "damaged").size, 4);
  assert.deepEqual(third.contents.namespaces(), [NS]);
  await third.close();
});

test("what is written before anything was read takes nothing away", async () => {
  const first = new Store(join(directory, "written"));
  await first.load(({ reason }) => assert.fail(reason));
  await first.contents.insert(NS, "old", record(1));
  await first.close();
  const second = new Store(join(directory, "written"));
  await second.load(({ reason }) => assert.fail(reason));
  await assert.rejects(second.contents.insert(NS, "old", record(2)), /already exists/);
  await second.contents.insert(NS, "new", record(3));
  assert.deepEqual(
    second.contents.list(NS).map(({ size }) => size),
    [3, 1],
  );
  await second.close();
});
