// Somebody removes an image, and has everything collected, between two steps of who uses it: that one has all of it, or is told that it is not there.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { buffer } from "node:stream/consumers";
import { after, afterEach, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { getContainer } from "../../src/cli/containers/record.ts";
import { commitContainer } from "../../src/cli/images/make.ts";
import { prepareImage } from "../../src/cli/images/prepare.ts";
import { saveImages } from "../../src/cli/images/save.ts";
import { ImageStore } from "../../src/cli/images/store.ts";
import { tagImage } from "../../src/cli/images/tag.ts";
import { usageOf } from "../../src/cli/images/usage.ts";
import { Cli } from "../cli/cli.ts";
import { check } from "../harness/command.ts";
import { Daemon } from "../harness/daemon.ts";
import { ImagesClient } from "./client.ts";
import { type Interceptions, intercepted, once } from "./intercepted.ts";
import { tar } from "./tar.ts";

const place = mkdtempSync(join(tmpdir(), "holdfast-raced-"));
const NO_OPTIONS = { author: undefined, message: undefined, changes: [] };
let daemon: Daemon;
let cli: Cli;
let client: ImagesClient;

before(async () => {
  daemon = await Daemon.start({ kind: "holdfastd" });
  cli = new Cli(daemon);
  client = await ImagesClient.connect(daemon.address, daemon.namespace);
  await makeArchive("one:1", "one");
  await makeArchive("two:1", "two");
});
after(async () => {
  client.close();
  cli.close();
  await daemon.close();
  rmSync(place, { recursive: true, force: true });
});
afterEach(async () => {
  for (const name of ["one:1", "two:1", "made:1"]) await cli.run(["rmi", name]);
  await collect();
});

const archiveOf = (name: string): string => join(place, `${name.replace(":", "-")}.tar`);

/** An image of two layers, which are those of every other image that is made here. */
async function makeArchive(name: string, comment: string): Promise<void> {
  const directory = join(place, comment);
  mkdirSync(directory);
  const json = (file: string, value: unknown): void =>
    writeFileSync(join(directory, file), JSON.stringify(value));
  const layers = ["first", "second"].map((file) => tar([{ name: file, data: file }]));
  for (const [index, layer] of layers.entries())
    writeFileSync(join(directory, `${index}.tar.gz`), gzipSync(layer));
  const digests = layers.map((layer) => `sha256:${createHash("sha256").update(layer).digest("hex")}`);
  const architecture = process.arch === "arm64" ? "arm64" : "amd64";
  const rootfs = { type: "layers", diff_ids: digests };
  json("config.json", { architecture, os: "linux", comment, config: { Cmd: ["/first"] }, rootfs });
  json("manifest.json", [{ Config: "config.json", RepoTags: [name], Layers: ["0.tar.gz", "1.tar.gz"] }]);
  const files = ["manifest.json", "config.json", "0.tar.gz", "1.tar.gz"];
  await check(["tar", "-C", directory, "-cf", archiveOf(name), ...files]);
}

const load = (name: string): Promise<string> => cli.do(["load", "-i", archiveOf(name)]);

async function collect(): Promise<void> {
  const { leases } = client.daemon;
  await leases.create({ id: "sweep", labels: {} });
  await leases.delete({ id: "sweep", sync: true });
}

/** The image is removed as a user does it, with all that nothing keeps. */
async function removed(name: string): Promise<void> {
  await cli.do(["rmi", name]);
  await collect();
}

/** What it does when a call is made: the image goes for good before the first such call, or after it. */
function losing(name: string, when: "before" | "after"): Interceptions[string] {
  const goes = once(() => removed(name));
  return async (go) => {
    if (when === "before") await goes();
    const answer = await go();
    if (when === "after") await goes();
    return answer;
  };
}

/** A root that is made of an image, and removed while it is on its lease: a collection could be faster afterwards. */
const prepare = (id: string, name: string, interceptions: Interceptions = {}): Promise<void> =>
  ImageStore.underLease(intercepted(client.daemon, interceptions), async (store) => {
    await prepareImage(store, id, await store.find(name), undefined);
    await client.daemon.snapshots.remove({ snapshotter: "overlayfs", key: id });
  });

/** Whether the daemon has the image with its configuration and every layer. */
async function demandWhole(name: string): Promise<void> {
  const store = new ImageStore(client.daemon);
  const { manifest } = await store.resolve(await store.find(name));
  for (const { digest } of [manifest.config, ...manifest.layers])
    await client.daemon.content.info({ digest });
}

test("layers that another image has unpacked are unpacked again, if they go with that before they are on the lease", async () => {
  await load("one:1");
  await prepare("of-one", "one:1");
  await load("two:1");
  await prepare("of-two", "two:1", { "snapshots.stat": losing("one:1", "after") });
});

test("layers that somebody else was faster to unpack are there, though that one's image goes at once", async () => {
  await load("one:1");
  await load("two:1");
  // Another process: in one, the second waits for the first.
  const faster = once(() => cli.do(["create", "--name", "faster", "one:1"]));
  const goes = once(async () => {
    await cli.do(["delete", "faster"]);
    await removed("one:1");
  });
  await prepare("of-two", "two:1", {
    "snapshots.commit": async (go) => {
      await faster();
      return go().finally(goes);
    },
  });
});

test("an image that is removed while a container is made of it is unpacked whole", async () => {
  await load("one:1");
  await prepare("of-one", "one:1", { "snapshots.prepare": losing("one:1", "before") });
});

async function made(name: string): Promise<void> {
  await load(name);
  await cli.do(["create", "--name", "user", name]);
}

async function commit(interceptions: Interceptions): Promise<unknown> {
  const container = await getContainer(client.daemon, "user");
  return ImageStore.underLease(intercepted(client.daemon, interceptions), (store) =>
    commitContainer(store, container, "docker.io/library/made:1", NO_OPTIONS),
  );
}

test("a container that is deleted after its changes were read leaves a commit that has all layers", async () => {
  await made("one:1");
  await cli.do(["rmi", "one:1"]);
  await commit({
    "diff.diff": async (go) => {
      const answer = await go();
      await cli.do(["delete", "-f", "user"]);
      await collect();
      return answer;
    },
  });
  await demandWhole("made:1");
});

test("a container that is deleted before its changes are read makes no image", async () => {
  await made("one:1");
  await assert.rejects(
    commit({
      "diff.diff": async (go) => {
        await cli.do(["delete", "-f", "user"]);
        await collect();
        return go();
      },
    }),
    /not found/,
  );
  assert.doesNotMatch(await cli.do(["images", "-q"]), /made/);
});

test("an image that is removed while it is tagged is whole under its new name", async () => {
  await load("one:1");
  const slow = intercepted(client.daemon, { "images.create": losing("one:1", "before") });
  await tagImage(slow, "one:1", "made:1");
  await demandWhole("made:1");
});

test("an image that is removed before it is tagged is not there, and has no name", async () => {
  await load("one:1");
  const slow = intercepted(client.daemon, { "leases.addResource": losing("one:1", "before") });
  await assert.rejects(tagImage(slow, "one:1", "made:1"), /one:1: the image has been removed/);
  assert.doesNotMatch(await cli.do(["images", "-q"]), /made/);
});

test("an image that is removed while it is saved is in the archive whole", async () => {
  await load("one:1");
  const slow = intercepted(client.daemon, { "content.info": losing("one:1", "after") });
  const output = new PassThrough();
  const saved = buffer(output);
  await ImageStore.underLease(slow, async (store) =>
    saveImages(store, [await store.find("one:1")], output, undefined),
  );
  writeFileSync(join(place, "saved.tar"), await saved);
  await cli.do(["load", "-i", join(place, "saved.tar")]);
  await demandWhole("one:1");
});

test("what images take is told though one of them goes meanwhile", async () => {
  await load("one:1");
  const slow = intercepted(client.daemon, { "content.info": losing("one:1", "after") });
  const [share] = await usageOf(slow);
  assert.equal(share?.type, "images");
});
