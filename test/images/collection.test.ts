// A collection between any two steps of a call, in this process: each call is begun while a collection is at a place that is known, and what the call
// has answered must be true afterwards.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, type TestContext, test } from "node:test";
import { WriteAction, type WriteContentRequest } from "../../src/api/generated/content.ts";
import { contentService } from "../../src/manager/api/content.ts";
import { imagesService } from "../../src/manager/api/images.ts";
import { leasesService } from "../../src/manager/api/leases.ts";
import { snapshotsService } from "../../src/manager/api/snapshots.ts";
import { Images, snapshotId } from "../../src/manager/images/images.ts";
import { Store } from "../../src/manager/records/store.ts";
import { Exchange } from "../../src/manager/server/exchange.ts";
import type { Call } from "../../src/manager/server/grpc-server.ts";
import { localServices } from "../../src/manager/server/local-services.ts";
import { Cancellation } from "../../src/ttrpc/cancel.ts";
import { HOLDFASTD } from "../harness/runtime.ts";

const NAMESPACE = "races";
const SNAPSHOTTER = "native";

// The daemon's other programs are beside its own.
process.argv[1] = HOLDFASTD;
const root = mkdtempSync(join(tmpdir(), "holdfast-races-"));
const store = new Store(root);
const exchange = new Exchange({ note: () => true, published: () => {} });
const images = new Images(root, store, exchange, (error) => assert.fail(String(error)));
const call: Call = {
  namespace: NAMESPACE,
  client: "a test",
  reason: "",
  lease: undefined,
  signal: new Cancellation(),
};
const handlers = {
  content: contentService(images, store),
  images: imagesService(images, store),
  snapshots: snapshotsService(images, store),
  diff: {},
  leases: leasesService(store, images),
};
const services = localServices(handlers, call);
const leased = services.underLease("lease");

before(() => store.load((bad) => assert.fail(bad.reason)));
after(async () => {
  images.close();
  await store.close();
  rmSync(root, { recursive: true, force: true });
});
/** Nothing is there but an empty lease, and a blob that nothing keeps: to remove it a collection waits for the disk. */
beforeEach(async () => {
  for (const { id } of (await services.leases.list({ filters: [] })).leases)
    await services.leases.delete({ id, sync: false });
  await images.collect();
  await services.leases.create({ id: "lease", labels: {} });
  await put("litter");
});

async function put(text: string): Promise<string> {
  const data = Buffer.from(text);
  const stream = services.writeContent();
  const { digest } = await stream.send({ action: WriteAction.COMMIT, ref: text, offset: 0n, data });
  await stream.end();
  return digest;
}

const prepare = (key: string, parent = ""): Promise<unknown> =>
  services.snapshots.prepare({ snapshotter: SNAPSHOTTER, key, parent, labels: {} });
const commit = (key: string, name: string): Promise<unknown> =>
  services.snapshots.commit({ snapshotter: SNAPSHOTTER, key, name, labels: {}, parent: "" });
const remove = (key: string): Promise<unknown> =>
  services.snapshots.remove({ snapshotter: SNAPSHOTTER, key });
const isSnapshot = (key: string): boolean =>
  store.snapshots.find(NAMESPACE, snapshotId(SNAPSHOTTER, key)) !== undefined;
/** Of a committed snapshot that nothing keeps. */
async function stray(name: string): Promise<string> {
  await prepare(`${name} active`);
  await commit(`${name} active`, name);
  return name;
}

/** Begins a call while a collection goes on, and says whether what it refers to was there when it was answered, and afterwards. */
async function during(
  act: () => Promise<unknown>,
  isThere: () => boolean,
): Promise<{ answered: boolean; afterwards: boolean }> {
  const collecting = images.collect();
  await act();
  const answered = isThere();
  await collecting;
  return { answered, afterwards: isThere() };
}

const SNAPSHOT_LABEL = `containerd.io/gc.ref.snapshot.${SNAPSHOTTER}`;

/** Ways to make something point at a snapshot, each from something that a lease keeps. */
const REFERENCES: Readonly<Record<string, (name: string, kept: string) => Promise<unknown>>> = {
  "a resource of a lease": (id) =>
    services.leases.addResource({ id: "lease", resource: { id, type: `snapshots/${SNAPSHOTTER}` } }),
  "a label of content": (name, digest) =>
    services.content.update({
      info: {
        digest,
        size: 0n,
        createdAt: undefined,
        updatedAt: undefined,
        labels: { [SNAPSHOT_LABEL]: name },
      },
      updateMask: [`labels.${SNAPSHOT_LABEL}`],
    }),
  "a label of an image": (name, digest) =>
    services.images.create({
      image: {
        name: "image",
        labels: { [SNAPSHOT_LABEL]: name },
        target: { digest, mediaType: "text/plain", size: 1n, annotations: {} },
        createdAt: undefined,
        updatedAt: undefined,
      },
    }),
  "the snapshot of a container": (name) =>
    store.containers.insert(NAMESPACE, "container", {
      id: "container",
      labels: {},
      image: "",
      runtime: undefined,
      spec: undefined,
      snapshotter: SNAPSHOTTER,
      snapshotKey: name,
      createdAt: undefined,
      updatedAt: undefined,
      extensions: {},
    }),
};

for (const [what, refer] of Object.entries(REFERENCES)) {
  test(`what is there when ${what} is made to point at it during a collection, stays`, async () => {
    const kept = await put(`kept by ${what}`);
    await services.leases.addResource({ id: "lease", resource: { id: kept, type: "content" } });
    const name = await stray(`snapshot for ${what}`);
    const { answered, afterwards } = await during(
      () => refer(name, kept),
      () => isSnapshot(name),
    );
    assert.equal(afterwards, answered);
    await store.containers.remove(NAMESPACE, "container").catch(() => {});
    await services.images.delete({ name: "image", sync: false, target: undefined }).catch(() => {});
  });
}

test("a call that changes no record is answered while a collection waits for the disk", async () => {
  const collecting = images.collect();
  let isOver = false;
  void collecting.then(() => {
    isOver = true;
  });
  await services.leases.list({ filters: [] });
  await services.content.info({ digest: await digestOfLitter() }).catch(() => {});
  assert.equal(isOver, false);
  await collecting;
});

const digestOfLitter = async (): Promise<string> =>
  `sha256:${createHash("sha256").update("litter").digest("hex")}`;

test("content that is said to be there already is there after the collection that went on, file and record", async () => {
  const digest = await put("of another namespace once");
  await store.contents.remove(NAMESPACE, digest);
  const path = images.blobs.path(digest);
  assert.ok(existsSync(path));
  const stream = leased.writeContent();
  const request: Pick<WriteContentRequest, "action" | "ref" | "offset" | "expected"> = {
    action: WriteAction.STAT,
    ref: "again",
    offset: 0n,
    expected: digest,
  };
  const collecting = images.collect();
  const isThere = await stream.send(request).then(
    () => false,
    () => true,
  );
  await collecting;
  await stream.end();
  assert.equal(existsSync(path), isThere);
  assert.equal(store.contents.find(NAMESPACE, digest) !== undefined, isThere);
});

/** Snapshots have no files in this test; `making` is done where they would be made. */
function withoutFiles(t: TestContext, making: () => Promise<void>): void {
  t.mock.method(images.snapshotter(SNAPSHOTTER), "make", making);
}

test("a snapshot is not removed while another is made on top of it", async (t) => {
  const parent = await stray("parent");
  let removed: PromiseSettledResult<unknown>[] = [];
  withoutFiles(t, async () => {
    removed = await Promise.allSettled([remove(parent)]);
  });
  await prepare("child", parent);
  assert.equal(removed[0]?.status, "rejected");
  assert.ok(isSnapshot(parent));
});

test("no snapshot is made on top of one that is being removed", async (t) => {
  const parent = await stray("parent that goes");
  withoutFiles(t, async () => {});
  const taken = store.snapshots.remove.bind(store.snapshots);
  let made: PromiseSettledResult<unknown>[] = [];
  t.mock.method(store.snapshots, "remove", async (...args: Parameters<typeof taken>) => {
    made = await Promise.allSettled([prepare("late child", parent)]);
    return taken(...args);
  });
  await remove(parent);
  assert.equal(made[0]?.status, "rejected");
  assert.equal(isSnapshot("late child"), false);
});

test("a snapshot that is removed while it is committed is not on record without its files", async () => {
  await prepare("active");
  const done = await Promise.allSettled([commit("active", "committed"), remove("active")]);
  assert.deepEqual(done.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
  const record = store.snapshots.find(NAMESPACE, snapshotId(SNAPSHOTTER, "committed"));
  if (record !== undefined)
    assert.ok(existsSync(join(images.snapshotter(SNAPSHOTTER).directory, "snapshots", record.directory)));
});

test("of two that are committed under one name the second stays active", async () => {
  await prepare("first");
  await prepare("second");
  const done = await Promise.allSettled([commit("first", "one name"), commit("second", "one name")]);
  assert.deepEqual(
    done.map(({ status }) => status),
    ["fulfilled", "rejected"],
  );
  assert.ok(isSnapshot("second"));
});
