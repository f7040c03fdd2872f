// Leases that end with their client's process: nothing waits for the disk because of them, and a daemon that comes back finds them all the same.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { open } from "lmdb";
import { CLIENT_LABEL } from "../../src/api/labels.ts";
import { Store } from "../../src/manager/records/store.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-leases-"));
after(() => rmSync(directory, { recursive: true }));

const NS = "n";
const resource = { id: "sha256:0", type: "content" };
const lease = (labels: Record<string, string>) => ({ createdAt: "1", labels, resources: [] });
const passing = lease({ [CLIENT_LABEL]: "1 1 pid:[1]" });

async function opened(place: string): Promise<Store> {
  const store = new Store(place);
  await store.load(({ reason }) => assert.fail(reason));
  return store;
}

/** The ids in a file, and the bytes of one. */
async function inFile(place: string, name: string): Promise<Map<string, Buffer>> {
  const root = open({ path: join(place, name), encoding: "binary", maxDbs: 16 });
  const records = root.openDB<Buffer, [string, string]>({ name: "leases", encoding: "binary" });
  const found = new Map([...records.getRange()].map(({ key: [, id], value }) => [id, Buffer.from(value)]));
  await root.close();
  return found;
}

test("a lease of a process is in the file that waits for no disk, any other in the one that does; both are found again, and go", async () => {
  const place = join(directory, "both");
  const first = await opened(place);
  await first.leases.insert(NS, "passing", passing);
  await first.leases.insert(NS, "lasting", lease({}));
  for (const id of ["passing", "lasting"])
    await first.leases.update(NS, id, (before) => ({ ...before, resources: [resource] }));
  await first.close();
  assert.deepEqual([...(await inFile(place, "store.mdb")).keys()], ["lasting"]);
  assert.deepEqual([...(await inFile(place, "history.mdb")).keys()], ["passing"]);

  const second = await opened(place);
  assert.deepEqual(second.leases.ids(NS), ["lasting", "passing"]);
  for (const { resources } of second.leases.list(NS)) assert.deepEqual(resources, [resource]);
  await second.leases.remove(NS, "lasting");
  await second.leases.removeAll(NS, ["passing"]);
  await second.close();
  for (const name of ["store.mdb", "history.mdb"]) assert.equal((await inFile(place, name)).size, 0);
});

test("a lease of a process that an earlier version has written elsewhere goes for good when it ends", async () => {
  const place = join(directory, "earlier");
  const first = await opened(place);
  await first.leases.insert(NS, "old", passing);
  await first.close();
  const bytes = (await inFile(place, "history.mdb")).get("old");
  const [now, then] = [join(place, "history.mdb"), join(place, "store.mdb")].map((path) =>
    open({ path, encoding: "binary", maxDbs: 16 }),
  );
  for (const [root, content] of [
    [now, undefined],
    [then, bytes],
  ] as const) {
    const records = root?.openDB<Buffer, [string, string]>({ name: "leases", encoding: "binary" });
    await (content === undefined ? records?.remove([NS, "old"]) : records?.put([NS, "old"], content));
    await root?.close();
  }

  const second = await opened(place);
  assert.deepEqual(second.leases.ids(NS), ["old"]);
  await second.leases.remove(NS, "old");
  await second.close();
  const third = await opened(place);
  assert.deepEqual(third.leases.ids(NS), []);
  await third.close();
});
