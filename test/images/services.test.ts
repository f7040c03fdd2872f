// The services of images on a real daemon, by what clients of containerd rely on. The same file passes on containerd (HOLDFAST_TEST_DAEMON=containerd),
// but for what its own version does not know.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ContentDefinition, WriteAction } from "../../src/api/generated/content.ts";
import { DiffDefinition } from "../../src/api/generated/diff.ts";
import { ImagesDefinition } from "../../src/api/generated/images.ts";
import { LeasesDefinition } from "../../src/api/generated/leases.ts";
import { NamespacesDefinition } from "../../src/api/generated/namespaces.ts";
import { SnapshotsDefinition } from "../../src/api/generated/snapshots.ts";
import { nsFromTimestamp } from "../../src/api/timestamp.ts";
import { Code } from "../../src/ttrpc/status.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually, patience } from "../harness/eventually.ts";
import { IMAGE, importImage } from "../harness/image.ts";
import { ImagesClient } from "./client.ts";
import { tar } from "./tar.ts";

const kind = process.env.HOLDFAST_TEST_DAEMON === "containerd" ? "containerd" : "holdfastd";
const daemon = await Daemon.start({ kind });
const client = await ImagesClient.connect(daemon.address, daemon.namespace);
after(async () => {
  client.close();
  await daemon.close();
});

const content = ContentDefinition.methods;
const images = ImagesDefinition.methods;
const snapshots = SnapshotsDefinition.methods;
const leases = LeasesDefinition.methods;
const SNAPSHOTTER = "overlayfs";
/** When a lease is over that something is put on first, in ms. */
const SOON = patience(3000);

const digestOf = (data: Uint8Array): string => `sha256:${createHash("sha256").update(data).digest("hex")}`;
const hasCode = (code: number, text?: RegExp) => (error: { code?: number; details?: string }) => {
  assert.equal(error.code, code, error.details ?? String(error));
  if (text !== undefined) assert.match(error.details ?? "", text);
  return true;
};
const makeLease = async (id: string, labels: Record<string, string> = {}): Promise<string> => {
  await client.call(LeasesDefinition, leases.create, { id, labels });
  return id;
};
/** Has everything collected that nothing keeps. */
const collect = (): Promise<unknown> =>
  client
    .call(LeasesDefinition, leases.create, { id: "sweep", labels: {} })
    .then(() => client.call(LeasesDefinition, leases.delete, { id: "sweep", sync: true }));
const exists = (digest: string): Promise<boolean> =>
  client.call(ContentDefinition, content.info, { digest }).then(
    () => true,
    () => false,
  );
const name = (): string => randomBytes(6).toString("hex");

let lease: string;
before(async () => {
  lease = await makeLease("of-the-tests");
});

test("a blob comes back as it was written, whole and in parts", async () => {
  const data = randomBytes(3_000_000);
  const ref = name();
  const call = client.write(lease);
  const first = await call.send({
    action: WriteAction.WRITE,
    ref,
    data: data.subarray(0, 1_000_000),
    total: 3_000_000n,
  });
  assert.equal(first.offset, 1_000_000n);
  await call.send({ action: WriteAction.WRITE, offset: 1_000_000n, data: data.subarray(1_000_000) });
  const { digest } = await call.send({
    action: WriteAction.COMMIT,
    offset: 3_000_000n,
    expected: digestOf(data),
  });
  call.end();
  assert.equal(digest, digestOf(data));
  const { info } = await client.call(ContentDefinition, content.info, { digest });
  assert.equal(info?.size, 3_000_000n);
  const read = async (offset: bigint, size: bigint): Promise<Buffer> => {
    const parts = await client.list(ContentDefinition, content.read, { digest, offset, size });
    return Buffer.concat(parts.map((part) => part.data));
  };
  assert.ok((await read(0n, 0n)).equals(data));
  assert.ok((await read(2_999_990n, 100n)).equals(data.subarray(2_999_990)));
  assert.ok((await read(17n, 5n)).equals(data.subarray(17, 22)));
  await assert.rejects(read(3_000_001n, 0n), hasCode(Code.OUT_OF_RANGE));
});

test("a client that writes a great many blobs keeps its connection", async () => {
  const digests = new Set<string>();
  for (let count = 0; count < 1500; count++)
    digests.add(await client.put(`many-${count}`, randomBytes(16), { lease }));
  assert.equal(digests.size, 1500);
  for (const digest of digests) await client.call(ContentDefinition, content.delete, { digest });
});

test("a write that breaks off goes on where it was, also from the start, and one writer keeps others out", async () => {
  const data = randomBytes(1000);
  const ref = name();
  const first = client.write(lease);
  await first.send({ action: WriteAction.WRITE, ref, data: data.subarray(0, 600) });
  const { status: begun } = await client.call(ContentDefinition, content.status, { ref });
  const second = client.write(lease);
  await assert.rejects(second.send({ action: WriteAction.STAT, ref }), hasCode(Code.UNAVAILABLE));
  first.end();
  const third = await until(async () => {
    const call = client.write(lease);
    return { call, status: await call.send({ action: WriteAction.STAT, ref }) };
  });
  assert.equal(third.status.offset, 600n);
  assert.deepEqual(third.status.startedAt, begun?.startedAt, "it is the same write");
  await assert.rejects(
    third.call.send({ action: WriteAction.WRITE, offset: 700n, data }),
    hasCode(Code.OUT_OF_RANGE, /write @700 must occur at current offset 600/),
  );
  const { status } = await client.call(ContentDefinition, content.status, { ref });
  assert.equal(status?.offset, 600n);
  const last = await until(async () => {
    const call = client.write(lease);
    await call.send({ action: WriteAction.WRITE, ref, offset: 0n, data });
    return call;
  });
  const { digest } = await last.send({ action: WriteAction.COMMIT, offset: 1000n });
  assert.equal(digest, digestOf(data));
  last.end();
});

test("what is not what was expected is not kept", async () => {
  const wrong = client.write(lease);
  const expected = digestOf(Buffer.from("other"));
  await assert.rejects(
    wrong.send({ action: WriteAction.COMMIT, ref: name(), data: Buffer.from("this"), expected }),
    hasCode(Code.FAILED_PRECONDITION, /unexpected commit digest/),
  );
  const short = client.write(lease);
  await assert.rejects(
    short.send({ action: WriteAction.COMMIT, ref: name(), data: Buffer.from("short"), total: 10n }),
    hasCode(Code.FAILED_PRECONDITION, /failed size validation: 5 != 10/),
  );
  assert.equal(await exists(digestOf(Buffer.from("this"))), false);
});

test("a write of which a commit was refused stays for who says something else of it, and begins anew for who says the same", async () => {
  const data = randomBytes(100);
  const ref = name();
  const refused = async (message: { expected?: string; total?: bigint }): Promise<void> => {
    const call = client.write(lease);
    const { offset } = await call.send({ action: WriteAction.STAT, ref });
    if (offset === 0n) await call.send({ action: WriteAction.WRITE, ref, data });
    await assert.rejects(
      call.send({ action: WriteAction.COMMIT, offset: 100n, ...message }),
      hasCode(Code.FAILED_PRECONDITION),
    );
    call.end();
  };
  const expected = digestOf(Buffer.from("other"));
  await refused({ expected });
  await refused({ total: 99n });
  if (kind === "holdfastd") {
    const again = client.write(lease);
    assert.equal((await again.send({ action: WriteAction.STAT, ref, expected })).offset, 0n);
    again.end();
    await until(() => refused({ expected }));
  }
  const call = client.write(lease);
  assert.equal((await call.send({ action: WriteAction.STAT, ref })).offset, 100n);
  const { digest } = await call.send({ action: WriteAction.COMMIT, offset: 100n, total: 100n });
  assert.equal(digest, digestOf(data));
  call.end();
});

test("a write that has been refused goes with the next collection", async () => {
  const ref = name();
  const call = client.write();
  const expected = digestOf(Buffer.from("other"));
  await assert.rejects(call.send({ action: WriteAction.COMMIT, ref, data: Buffer.from("x"), expected }));
  call.end();
  if (kind === "containerd") return;
  await collect();
  await assert.rejects(client.call(ContentDefinition, content.status, { ref }), hasCode(Code.NOT_FOUND));
});

test("a write under a lease is on it until it is committed or aborted, refused or not, and goes with it", async () => {
  const id = await makeLease(name());
  const onLease = async (): Promise<string[]> => {
    const { resources } = await client.call(LeasesDefinition, leases.listResources, { id });
    return resources.map((each) => `${each.type} ${each.id}`);
  };
  const refs = [name(), name(), name()];
  const [refused = "", aborted = "", committed = ""] = refs;
  for (const ref of refs) {
    const call = client.write(id);
    await call.send({ action: WriteAction.WRITE, ref, data: Buffer.from(ref) });
    call.end();
  }
  assert.deepEqual((await onLease()).sort(), refs.map((ref) => `ingests ${ref}`).sort());
  const wrong = await until(async () => {
    const call = client.write(id);
    await call.send({ action: WriteAction.STAT, ref: refused });
    return call;
  });
  const expected = digestOf(Buffer.from("other"));
  await assert.rejects(wrong.send({ action: WriteAction.COMMIT, offset: 12n, expected }));
  wrong.end();
  await until(() => client.daemon.underLease(id).content.abort({ ref: aborted }));
  const right = await until(async () => {
    const call = client.write(id);
    await call.send({ action: WriteAction.STAT, ref: committed });
    return call;
  });
  const { digest } = await right.send({ action: WriteAction.COMMIT, offset: 12n });
  right.end();
  assert.deepEqual((await onLease()).sort(), [`content ${digest}`, `ingests ${refused}`]);
  await collect();
  await client.call(ContentDefinition, content.status, { ref: refused });
  await client.call(LeasesDefinition, leases.delete, { id, sync: true });
  await assert.rejects(
    client.call(ContentDefinition, content.status, { ref: refused }),
    hasCode(Code.NOT_FOUND),
  );
  assert.equal(await exists(digest), false);
});

test("what is made under no lease stays for a while, whatever is deleted meanwhile, unless a client has all collected", async () => {
  const snapshotter = SNAPSHOTTER;
  const id = await makeLease(name());
  const key = name();
  await client.daemon.snapshots.prepare({ snapshotter, key, parent: "", labels: {} });
  const free = await client.put(name(), randomBytes(10));
  const leased = await client.put(name(), randomBytes(10), { lease: id });
  await client.call(LeasesDefinition, leases.delete, { id, sync: false });
  // containerd's collection comes when it likes.
  if (kind === "holdfastd") {
    await until(async () => assert.equal(await exists(leased), false));
    assert.ok(await exists(free));
    await client.daemon.snapshots.stat({ snapshotter, key });
  }
  await collect();
  assert.equal(await exists(free), false);
  await assert.rejects(client.daemon.snapshots.stat({ snapshotter, key }), hasCode(Code.NOT_FOUND));
});

test("times are finer than a millisecond", async () => {
  const times: bigint[] = [];
  for (let count = 0; count < 5; count++) {
    const digest = await client.put(name(), randomBytes(100), { lease });
    const { info } = await client.call(ContentDefinition, content.info, { digest });
    times.push(nsFromTimestamp(info?.createdAt ?? { seconds: 0n, nanos: 0 }));
  }
  assert.ok(
    times.some((each) => each % 1_000_000n !== 0n),
    times.join(", "),
  );
  assert.deepEqual([...times].sort(), times);
});

test("what is there already is said to be so", async () => {
  const data = randomBytes(100);
  await client.put(name(), data, { lease });
  await assert.rejects(client.put(name(), data, { lease }), hasCode(Code.ALREADY_EXISTS));
  const call = client.write(lease);
  await assert.rejects(
    call.send({ action: WriteAction.STAT, ref: name(), expected: digestOf(data) }),
    hasCode(Code.ALREADY_EXISTS),
  );
});

test("an abandoned write is listed, and goes when it is aborted", async () => {
  const ref = name();
  const call = client.write(lease);
  await call.send({ action: WriteAction.WRITE, ref, data: Buffer.from("half") });
  call.end();
  const listed = async (): Promise<boolean> => {
    const { statuses } = await client.call(ContentDefinition, content.listStatuses, { filters: [] });
    return statuses.some((status) => status.ref === ref);
  };
  assert.ok(await listed());
  await until(() => client.call(ContentDefinition, content.abort, { ref }));
  assert.equal(await listed(), false);
  await assert.rejects(client.call(ContentDefinition, content.abort, { ref }), hasCode(Code.NOT_FOUND));
});

test("digests and refs that are none are refused", async () => {
  for (const digest of [
    "",
    "sha256:abc",
    "../../etc/passwd",
    `sha256:${"../".repeat(21)}x`,
    `md5:${"0".repeat(32)}`,
  ]) {
    await assert.rejects(
      client.call(ContentDefinition, content.info, { digest }),
      hasCode(Code.INVALID_ARGUMENT),
      `info of ${digest}`,
    );
  }
  await assert.rejects(
    client.write(lease).send({ action: WriteAction.STAT, ref: "" }),
    hasCode(Code.INVALID_ARGUMENT),
  );
});

test("labels are changed one by one, and filters find them", async () => {
  const digest = await client.put(name(), randomBytes(10), { lease, labels: { a: "1", b: "2" } });
  const info = { digest, size: 0n, createdAt: undefined, updatedAt: undefined, labels: { a: "", c: "3" } };
  const updated = await client.call(ContentDefinition, content.update, {
    info,
    updateMask: ["labels.a", "labels.c"],
  });
  assert.deepEqual(updated.info?.labels, { b: "2", c: "3" });
  const found = await client.list(ContentDefinition, content.list, { filters: ["labels.c==3"] });
  assert.deepEqual(
    found.flatMap((message) => message.info.map((each) => each.digest)),
    [digest],
  );
  await assert.rejects(
    client.call(ContentDefinition, content.update, { info, updateMask: ["size"] }),
    hasCode(Code.INVALID_ARGUMENT),
  );
});

test("an image is a name for a descriptor", async () => {
  const digest = await client.put(name(), randomBytes(10), { lease });
  const target = { mediaType: "text/plain", digest, size: 10n, annotations: {} };
  const image = {
    name: `test.invalid/${name()}`,
    labels: { x: "1" },
    target,
    createdAt: undefined,
    updatedAt: undefined,
  };
  await client.call(ImagesDefinition, images.create, { image });
  await assert.rejects(client.call(ImagesDefinition, images.create, { image }), hasCode(Code.ALREADY_EXISTS));
  const got = await client.call(ImagesDefinition, images.get, { name: image.name });
  assert.deepEqual([got.image?.target?.digest, got.image?.labels], [digest, { x: "1" }]);
  const { images: found } = await client.call(ImagesDefinition, images.list, {
    filters: [`target.digest==${digest}`],
  });
  assert.deepEqual(
    found.map((each) => each.name),
    [image.name],
  );
  await client.call(ImagesDefinition, images.update, {
    image: { ...image, labels: { y: "2" } },
    updateMask: ["labels"],
  });
  const after = await client.call(ImagesDefinition, images.get, { name: image.name });
  assert.deepEqual(after.image?.labels, { y: "2" });
  await client.call(ImagesDefinition, images.delete, { name: image.name, sync: true });
  await assert.rejects(
    client.call(ImagesDefinition, images.get, { name: image.name }),
    hasCode(Code.NOT_FOUND),
  );
  for (const bad of [
    { ...image, name: "" },
    { ...image, target: undefined },
  ]) {
    await assert.rejects(
      client.call(ImagesDefinition, images.create, { image: bad }),
      hasCode(Code.INVALID_ARGUMENT),
    );
  }
});

const prepare = (key: string, parent = "", labels: Record<string, string> = {}) =>
  client.call(
    SnapshotsDefinition,
    snapshots.prepare,
    { snapshotter: SNAPSHOTTER, key, parent, labels },
    lease,
  );
const commit = (key: string, as: string) =>
  client.call(
    SnapshotsDefinition,
    snapshots.commit,
    { snapshotter: SNAPSHOTTER, key, name: as, labels: {}, parent: "" },
    lease,
  );
const removeSnapshot = (key: string) =>
  client.call(SnapshotsDefinition, snapshots.remove, { snapshotter: SNAPSHOTTER, key });

test("snapshots stand on committed ones, and what others stand on stays", async () => {
  const [base, active, top] = [name(), name(), name()];
  const first = await prepare(active);
  assert.deepEqual(
    first.mounts.map(({ type, options }) => [type, [...options].sort()]),
    [["bind", ["rbind", "rw"]]],
  );
  await assert.rejects(prepare(active), hasCode(Code.ALREADY_EXISTS));
  await assert.rejects(prepare(name(), active), hasCode(Code.INVALID_ARGUMENT));
  await assert.rejects(prepare(name(), "nobody"), hasCode(Code.NOT_FOUND));
  await commit(active, base);
  await assert.rejects(
    client.call(SnapshotsDefinition, snapshots.mounts, { snapshotter: SNAPSHOTTER, key: active }),
    hasCode(Code.NOT_FOUND),
  );
  const second = await prepare(top, base);
  const [mount] = second.mounts;
  assert.equal(mount?.type, "overlay");
  for (const option of ["lowerdir=", "upperdir=", "workdir="]) {
    assert.equal(mount?.options.filter((each) => each.startsWith(option)).length, 1, option);
  }
  await assert.rejects(removeSnapshot(base), hasCode(Code.FAILED_PRECONDITION, /child/));
  const { info } = await client.call(SnapshotsDefinition, snapshots.stat, {
    snapshotter: SNAPSHOTTER,
    key: top,
  });
  assert.deepEqual([info?.parent, info?.kind], [base, 2]);
  await removeSnapshot(top);
  await removeSnapshot(base);
  await assert.rejects(prepare(name(), base), hasCode(Code.NOT_FOUND));
});

test("a layer is applied: its uncompressed digest is told, and its size counts", async () => {
  const layer = tar([{ name: "file", data: "x".repeat(100_000) }]);
  const digest = await client.put(name(), layer, { lease });
  const key = name();
  const { mounts } = await prepare(key);
  const diff = {
    mediaType: "application/vnd.oci.image.layer.v1.tar",
    digest,
    size: BigInt(layer.length),
    annotations: {},
  };
  const { applied } = await client.call(DiffDefinition, DiffDefinition.methods.apply, {
    diff,
    mounts,
    payloads: {},
    syncFs: false,
  });
  assert.equal(applied?.digest, digest);
  const usage = await client.call(SnapshotsDefinition, snapshots.usage, { snapshotter: SNAPSHOTTER, key });
  assert.ok(usage.size >= 100_000n && usage.inodes >= 2n, `${usage.size} bytes, ${usage.inodes} inodes`);
  await removeSnapshot(key);
});

test("what nothing keeps is collected; labels, images and leases keep things, and what these point at", async () => {
  const mine = await makeLease(name());
  const child = await client.put(name(), randomBytes(20), { lease: mine });
  const parent = await client.put(name(), randomBytes(20), {
    lease: mine,
    labels: { "containerd.io/gc.ref.content.0": child },
  });
  const rooted = await client.put(name(), randomBytes(20), {
    lease: mine,
    labels: { "containerd.io/gc.root": new Date().toISOString() },
  });
  const loose = await client.put(name(), randomBytes(20), { lease: mine });
  const target = { mediaType: "text/plain", digest: parent, size: 20n, annotations: {} };
  const image = { name: name(), labels: {}, target, createdAt: undefined, updatedAt: undefined };
  await client.call(ImagesDefinition, images.create, { image });
  await collect();
  assert.deepEqual(await Promise.all([child, parent, rooted, loose].map(exists)), [true, true, true, true]);
  await client.call(LeasesDefinition, leases.delete, { id: mine, sync: true });
  assert.deepEqual(await Promise.all([child, parent, rooted, loose].map(exists)), [true, true, true, false]);
  await client.call(ImagesDefinition, images.delete, { name: image.name, sync: true });
  assert.deepEqual(await Promise.all([child, parent, rooted].map(exists)), [false, false, true]);
  await client.call(ContentDefinition, content.delete, { digest: rooted });
});

test("a flat lease keeps what it names, and nothing that this points at; an expired one keeps nothing", async () => {
  const flat = await makeLease(name(), { "containerd.io/gc.flat": "true" });
  const expired = await makeLease(name(), {
    "containerd.io/gc.expire": new Date(Date.now() + 3_600_000).toISOString(),
  });
  const other = await makeLease(name());
  const child = await client.put(name(), randomBytes(20), { lease: other });
  const parent = await client.put(name(), randomBytes(20), {
    lease: flat,
    labels: { "containerd.io/gc.ref.content.0": child },
  });
  const kept = await client.put(name(), randomBytes(20), { lease: expired });
  await client.call(LeasesDefinition, leases.delete, { id: other, sync: true });
  assert.deepEqual(await Promise.all([parent, child, kept].map(exists)), [true, false, true]);
  await client.call(LeasesDefinition, leases.delete, { id: flat, sync: true });
  await client.call(LeasesDefinition, leases.delete, { id: expired, sync: true });
  const late = await makeLease(name(), {
    // A collection that is under way would take one that is over before anything is on it.
    "containerd.io/gc.expire": new Date(Date.now() + SOON).toISOString(),
  });
  const gone = await client.put(name(), randomBytes(20), { lease: late });
  await eventually("the end of what an expired lease has kept", async () => {
    await collect();
    return !(await exists(gone));
  });
});

test("a resource stands on a lease once, however often it is added, and is taken off at once", async () => {
  const id = name();
  const resource = { id, type: "snapshots/overlayfs" };
  await client.call(LeasesDefinition, leases.create, { id, labels: {} });
  for (let turn = 0; turn < 2; turn++)
    await client.call(LeasesDefinition, leases.addResource, { id, resource });
  assert.deepEqual((await client.call(LeasesDefinition, leases.listResources, { id })).resources, [resource]);
  await client.call(LeasesDefinition, leases.deleteResource, { id, resource });
  assert.deepEqual((await client.call(LeasesDefinition, leases.listResources, { id })).resources, []);
  await client.call(LeasesDefinition, leases.delete, { id, sync: false });
});

test("a namespace in which something is left is not deleted, and the error says what", async () => {
  const own = await ImagesClient.connect(daemon.address, `${daemon.namespace}-left`);
  try {
    const namespace = `${daemon.namespace}-left`;
    const remove = (): Promise<unknown> =>
      own.call(NamespacesDefinition, NamespacesDefinition.methods.delete, { name: namespace });
    await own.call(LeasesDefinition, leases.create, { id: "l", labels: {} });
    const digest = await own.put(name(), randomBytes(100), { lease: "l" });
    const target = { mediaType: "text/plain", digest, size: 100n, annotations: {} };
    const image = { name: "left", labels: {}, target, createdAt: undefined, updatedAt: undefined };
    await own.call(ImagesDefinition, images.create, { image });
    const snapshot = { snapshotter: SNAPSHOTTER, key: "left" };
    await own.call(SnapshotsDefinition, snapshots.prepare, { ...snapshot, parent: "", labels: {} }, "l");
    const still = 'must be empty, but it still has images, blobs, snapshots on "overlayfs" snapshotter';
    await assert.rejects(remove(), hasCode(Code.FAILED_PRECONDITION, new RegExp(still)));
    await own.call(ImagesDefinition, images.delete, { name: "left", sync: false, target: undefined });
    await own.call(SnapshotsDefinition, snapshots.remove, snapshot);
    await assert.rejects(remove(), hasCode(Code.FAILED_PRECONDITION, /it still has blobs/));
    await own.call(ContentDefinition, content.delete, { digest });
    // A lease that holds nothing goes along.
    await remove();
    await own.call(LeasesDefinition, leases.create, { id: "l", labels: {} });
    await own.call(LeasesDefinition, leases.delete, { id: "l", sync: false });
    await remove();
  } finally {
    own.close();
  }
});

test("what clients do with images, blobs and snapshots is published", async () => {
  const events = await daemon.events();
  const digest = await client.put(name(), randomBytes(100), { lease });
  const key = name();
  await client.call(
    SnapshotsDefinition,
    snapshots.prepare,
    { snapshotter: SNAPSHOTTER, key, parent: "", labels: {} },
    lease,
  );
  const layer = `${key}-layer`;
  await client.call(
    SnapshotsDefinition,
    snapshots.commit,
    { snapshotter: SNAPSHOTTER, name: layer, key, labels: {}, parent: "" },
    lease,
  );
  await client.call(SnapshotsDefinition, snapshots.remove, { snapshotter: SNAPSHOTTER, key: layer });
  await client.call(ContentDefinition, content.delete, { digest });
  await events.first(
    "the last event",
    ({ topic, body }) => topic === "/content/delete" && body.digest === digest,
  );
  assert.deepEqual(
    events.all
      .filter(({ body }) => body.key === key || body.key === layer)
      .map(({ topic, body }) => [topic, body.name]),
    [
      ["/snapshot/prepare", undefined],
      ["/snapshot/commit", layer],
      ["/snapshot/remove", undefined],
    ],
  );
});

test("an image is imported, run, exported, imported again under its name, and removed with all that it was", async () => {
  await importImage(daemon);
  const output = await daemon.ctr.try(
    daemon.ctr.imageArgs("from-image", IMAGE, ["cat", "/bin/busybox"], ["--rm"]),
  );
  assert.equal(output.status, 0, output.stderr);
  const archive = join(daemon.directory, "export.tar");
  await daemon.ctr.do(["images", "export", archive, IMAGE]);
  assert.ok(existsSync(archive) && readFileSync(archive).length > 1_000_000);
  await daemon.ctr.do(["images", "rm", "--sync", IMAGE]);
  assert.doesNotMatch(await daemon.ctr.do(["images", "ls", "-q"]), /busybox/);
  await daemon.ctr.do(["images", "import", archive]);
  assert.match(await daemon.ctr.do(["images", "ls", "-q"]), /busybox/);
  await daemon.ctr.do(["images", "rm", "--sync", IMAGE]);
  // containerd keeps even what can only be wrong; we do if it is on a lease.
  const { statuses } = await client.call(ContentDefinition, content.listStatuses, { filters: [] });
  const { resources } = await client.call(LeasesDefinition, leases.listResources, { id: lease });
  const leased = new Set(resources.filter(({ type }) => type === "ingests").map(({ id }) => id));
  const free = statuses.map(({ ref }) => ref).filter((ref) => !leased.has(ref));
  if (kind === "holdfastd") assert.deepEqual(free, []);
  const left = await client.list(SnapshotsDefinition, snapshots.list, {
    snapshotter: SNAPSHOTTER,
    filters: [],
  });
  assert.deepEqual(
    left.flatMap((message) => message.info.map((each) => each.name)),
    [],
  );
});

/** What works once a stream's end has been noticed. */
async function until<T>(attempt: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + patience(60_000);
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
