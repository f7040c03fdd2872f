// Snapshots as clients use them: layers made of them by `ctr snapshots diff`, what introspection says of them, and hosts on which there is no overlay.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { DiffDefinition } from "../../src/api/generated/diff.ts";
import { Code } from "../../src/ttrpc/status.ts";
import { Cli } from "../cli/cli.ts";
import { run } from "../harness/command.ts";
import { Daemon } from "../harness/daemon.ts";
import { IMAGE, importImage } from "../harness/image.ts";
import { isHoldfastd } from "../harness/runtime.ts";
import { ImagesClient } from "./client.ts";

const daemon = await Daemon.start();
const client = await ImagesClient.connect(daemon.address, daemon.namespace);
after(async () => {
  client.close();
  await daemon.close();
});
before(() => importImage(daemon));

const { ctr } = daemon;
const { diff } = DiffDefinition.methods;
const rejectsWith = (call: Promise<unknown>, code: number, text: RegExp): Promise<void> =>
  assert.rejects(call, (error: { code?: number; details?: string }) => {
    assert.equal(error.code, code, error.details);
    assert.match(error.details ?? "", text);
    return true;
  });

test("what a container has changed is a layer, with ctr snapshots diff, while it runs too", async () => {
  const script = "echo new >/etc/new; rm /bin/vi; sleep 1000";
  await ctr.startImage("changer", IMAGE, ["sh", "-c", script]);
  await ctr.do([
    "tasks",
    "exec",
    "--exec-id",
    "w",
    "changer",
    "sh",
    "-c",
    "while [ -e /bin/vi ]; do sleep 0.05; done",
  ]);
  const layer = join(daemon.directory, "layer.tar.gz");
  // It writes the packed layer to its stdout.
  const made = await run(["sh", "-c", `ctr ${ctr.base.join(" ")} snapshots diff changer >${layer}`]);
  assert.equal(made.status, 0, made.stderr);
  const listed = await run(["tar", "-tzf", layer]);
  assert.deepEqual(listed.stdout.trim().split("\n").sort(), ["bin/", "bin/.wh.vi", "etc/", "etc/new"]);
  await ctr.remove("changer");
});

test("a layer is packed as it is asked for, is on record with what it unpacks to, and what is no kind of layer is refused", async () => {
  const snapshotter = "overlayfs";
  const lease = "for-diffs";
  await client.daemon.leases.create({ id: lease, labels: {} });
  const { mounts } = await client.daemon
    .underLease(lease)
    .snapshots.prepare({ snapshotter, key: "right", parent: "", labels: {} });
  writeFileSync(join(mounts[0]?.source ?? "", "file"), "content");
  const request = { left: [], right: mounts, mediaType: "", ref: "", labels: { a: "b" } };
  const first = await client.call(DiffDefinition, diff, request, lease);
  const { digest = "", mediaType = "", size } = first.diff ?? {};
  assert.equal(mediaType, "application/vnd.oci.image.layer.v1.tar+gzip");
  const { info } = await client.daemon.content.info({ digest });
  assert.equal(info?.size, size);
  assert.equal(info?.labels.a, "b");
  const plain = await client.call(
    DiffDefinition,
    diff,
    { ...request, mediaType: "application/vnd.oci.image.layer.v1.tar" },
    lease,
  );
  assert.equal(info?.labels["containerd.io/uncompressed"], plain.diff?.digest);
  const parts: Uint8Array[] = [];
  for await (const { data } of client.daemon.content.read({ digest, offset: 0n, size: 0n })) parts.push(data);
  assert.ok(gunzipSync(Buffer.concat(parts)).includes("content"));
  // The same again is no error: it is there.
  if (isHoldfastd)
    assert.equal((await client.call(DiffDefinition, diff, request, lease)).diff?.digest, digest);
  await rejectsWith(
    client.call(DiffDefinition, diff, { ...request, mediaType: "text/plain" }, lease),
    Code.UNIMPLEMENTED,
    /unsupported diff media type: text\/plain/,
  );
  const nowhere = [
    { type: "bind", source: join(daemon.directory, "nowhere"), target: "", options: ["rbind"] },
  ];
  await rejectsWith(
    client.call(DiffDefinition, diff, { ...request, right: nowhere, ref: "mine" }, lease),
    isHoldfastd ? Code.NOT_FOUND : Code.UNKNOWN,
    isHoldfastd ? /nowhere: it has been removed/ : /no such file/i,
  );
  const { statuses } = await client.daemon.content.listStatuses({ filters: [] });
  assert.deepEqual(statuses, []);
  await client.daemon.snapshots.remove({ snapshotter, key: "right" });
  await client.daemon.leases.delete({ id: lease, sync: true });
});

test("the plugins that are named are those that there are", async () => {
  const plugins = await ctr.do(["plugins", "ls"]);
  for (const [type, id] of [
    ["io.containerd.content.v1", "content"],
    ["io.containerd.snapshotter.v1", "overlayfs"],
    ["io.containerd.snapshotter.v1", "native"],
    ["io.containerd.differ.v1", "walking"],
    ["io.containerd.grpc.v1", "images"],
  ]) {
    assert.match(plugins, new RegExp(`^${type}\\s+${id}\\s+\\S+\\s+ok`, "m"));
  }
});

test("what is listed is in order, and a name that is taken is said before a key that is not there", async () => {
  const lines = (await ctr.do(["content", "ls", "-q"])).trim().split("\n");
  assert.deepEqual(lines, [...lines].sort());
  await ctr.do(["snapshots", "prepare", "k", ""]);
  await ctr.do(["snapshots", "commit", "taken", "k"]);
  const again = await ctr.try(["snapshots", "commit", "taken", "k"]);
  assert.match(again.stderr, /already exists/);
  await ctr.do(["snapshots", "rm", "taken"]);
});

test("a layer of not a single byte is one", async () => {
  const lease = "for-nothing";
  await client.daemon.leases.create({ id: lease, labels: {} });
  const digest = await client.put("nothing", new Uint8Array(0), { lease });
  const request = { snapshotter: "overlayfs", key: "empty", parent: "", labels: {} };
  const { mounts } = await client.daemon.underLease(lease).snapshots.prepare(request);
  const mediaType = "application/vnd.oci.image.layer.v1.tar";
  const descriptor = { mediaType, digest, size: 0n, annotations: {} };
  const { applied } = await client.daemon.diff.apply({
    diff: descriptor,
    mounts,
    payloads: {},
    syncFs: false,
  });
  assert.equal(applied?.digest, digest);
  await client.daemon.leases.delete({ id: lease, sync: true });
});

test("where there is no overlay it says so, and holdfast runs an image on copies", {
  skip: !isHoldfastd,
}, async () => {
  // An overlay cannot stand on another.
  const place = mkdtempSync(join(tmpdir(), "holdfast-nested-"));
  for (const name of ["lower", "upper", "work", "root"]) mkdirSync(join(place, name));
  const options = `lowerdir=${place}/lower,upperdir=${place}/upper,workdir=${place}/work`;
  const within = [
    "unshare",
    "-m",
    "sh",
    "-c",
    `mount -t overlay overlay -o ${options} ${place}/root && exec "$@"`,
    "sh",
  ];
  const nested = await Daemon.start({ root: join(place, "root"), within });
  const cli = new Cli(nested);
  try {
    assert.match(await nested.ctr.do(["plugins", "ls"]), /snapshotter\.v1\s+overlayfs\s+\S+\s+error/);
    const refused = await nested.ctr.try(["snapshots", "--snapshotter", "overlayfs", "prepare", "x", ""]);
    assert.match(refused.stderr, /snapshotter not loaded: overlayfs: mount overlay/);
    const archive = join(daemon.directory, "image.tar");
    await cli.do(["load", "-i", archive]);
    assert.equal(await cli.do(["run", "--rm", IMAGE, "echo", "on", "copies"]), "on copies\n");
    assert.match(await nested.ctr.do(["snapshots", "--snapshotter", "native", "ls"]), /Committed/);
    await cli.do(["rmi", IMAGE]);
    assert.equal(await nested.leftovers(), "");
  } finally {
    cli.close();
    await nested.close();
    rmSync(place, { recursive: true, force: true });
  }
});

test("nothing is left behind", async () => assert.equal(await daemon.leftovers(), ""));
