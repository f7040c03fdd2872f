// The transfer service's archives, and what its streams do to a daemon when they go wrong. Pulls and pushes go by it too: see the other files.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import type { ImageStore } from "../../src/api/generated/transfer_types.ts";
import type { DaemonClient } from "../../src/cli/containers/daemon-client.ts";
import { Code } from "../../src/ttrpc/status.ts";
import { Cli } from "../cli/cli.ts";
import { check } from "../harness/command.ts";
import { Daemon } from "../harness/daemon.ts";
import { type Entry, tar } from "../images/tar.ts";
import { type Blob, makeImage, makeIndex, type TestImage } from "./image.ts";
import { store, TransferClient } from "./transfer-client.ts";

const daemon = await Daemon.start({ kind: "holdfastd" });
const cli = new Cli(daemon);
let client: DaemonClient;
let transfers: TransferClient;
before(async () => {
  client = await daemon.client();
  transfers = new TransferClient(client);
});
after(async () => {
  transfers.close();
  client.close();
  cli.close();
  await daemon.close();
});

const hasCode = (code: number, says: RegExp) => (error: { code?: number; details?: string }) => {
  assert.equal(error.code, code, String(error));
  assert.match(error.details ?? "", says);
  return true;
};
const path = (digest: string): string => `blobs/sha256/${digest.slice("sha256:".length)}`;
const file = ({ digest, bytes }: Blob): Entry => ({ name: path(digest), data: bytes });
const files = ({ manifest, config, layers }: TestImage): Entry[] => [manifest, config, ...layers].map(file);

function layout(top: Blob, annotations: Record<string, string>, blobs: readonly Entry[]): Buffer {
  const { mediaType, digest, size } = top;
  const index = { schemaVersion: 2, manifests: [{ mediaType, digest, size, annotations }] };
  return tar([
    ...blobs,
    { name: "oci-layout", data: '{"imageLayoutVersion":"1.0.0"}' },
    { name: "index.json", data: JSON.stringify(index) },
  ]);
}

/** As ctr names what it imports. */
const naming = (fields: Partial<ImageStore["extraReferences"][number]> = {}): Partial<ImageStore> => ({
  extraReferences: [
    {
      name: "import-now",
      isPrefix: true,
      allowOverwrite: true,
      addDigest: false,
      skipNamedDigest: false,
      ...fields,
    },
  ],
});
const names = async (): Promise<string[]> =>
  (await daemon.ctr.do(["images", "ls", "-q"])).split("\n").filter((name) => name !== "");
const isEmpty = async (): Promise<void> => {
  assert.deepEqual(await names(), []);
  assert.equal((await daemon.ctr.do(["leases", "ls", "-q"])).trim(), "");
  assert.deepEqual((await daemon.ctr.do(["content", "active"])).trim().split("\n").slice(1), []);
};
const remove = async (...each: string[]): Promise<void> => {
  await daemon.ctr.do(["images", "rm", "--sync", ...each]);
  assert.equal((await daemon.ctr.do(["content", "ls", "-q"])).trim(), "");
};

test("an OCI layout is imported by the names in it, packed and in any pieces, and is run", async () => {
  const image = makeImage({ layers: [300_000] });
  const name = "example.test/layout:1";
  const archive = layout(image.manifest, { "io.containerd.image.name": name }, files(image));
  for (const [bytes, piece] of [
    [archive, 32 * 1024],
    [gzipSync(archive), 977],
  ] as const) {
    const unpacks = [{ platform: undefined, snapshotter: "" }];
    const events = await transfers.import(bytes, { ...naming(), unpacks }, piece);
    assert.ok(events.includes(`saved ${name}`), events.join("\n"));
    assert.equal((await cli.run(["run", "--rm", "--pull", "never", name])).stdout, "pulled\n");
    await remove(name);
  }
});

test("names are made by the client's rules", async () => {
  const image = makeImage();
  const tagged = layout(image.manifest, { "org.opencontainers.image.ref.name": "v1" }, files(image));
  const { digest } = image.manifest;
  const rules: [Partial<ImageStore["extraReferences"][number]>, string[]][] = [
    [{ name: "example.test/base" }, ["example.test/base:v1"]],
    [{ name: "x/base", addDigest: true }, ["x/base:v1", `x/base@${digest}`]],
    [{ name: "x/base", addDigest: true, skipNamedDigest: true }, ["x/base:v1"]],
  ];
  for (const [rule, wanted] of rules) {
    await transfers.import(tagged, naming(rule));
    assert.deepEqual(await names(), wanted);
    await remove(...wanted);
  }
  const whole = layout(image.manifest, { "io.containerd.image.name": "other.test/a:1" }, files(image));
  await assert.rejects(
    transfers.import(whole, naming({ name: "example.test/a", allowOverwrite: false })),
    hasCode(Code.NOT_FOUND, /no image of the archive has a name/),
  );
  await transfers.import(whole, {
    ...naming({ allowOverwrite: false, name: "x" }),
    name: "example.test/index:1",
  });
  assert.deepEqual(await names(), ["example.test/index:1"]);
  await remove("example.test/index:1");
});

test("what docker save writes is imported", async () => {
  const image = makeImage();
  const layers = image.layers.map((_, index) => `layer-${index}/layer.tar`);
  const archive = tar([
    ...image.layers.map(({ bytes }, index) => ({ name: layers[index] ?? "", data: bytes })),
    { name: "config.json", data: image.config.bytes },
    {
      name: "manifest.json",
      data: JSON.stringify([{ Config: "config.json", RepoTags: ["saved:1"], Layers: layers }]),
    },
  ]);
  await transfers.import(archive, naming());
  assert.deepEqual(await names(), ["docker.io/library/saved:1"]);
  assert.equal((await cli.run(["run", "--rm", "--pull", "never", "saved:1"])).stdout, "pulled\n");
  await remove("docker.io/library/saved:1");
});

test("names in an archive may be written in any way, and layers may be links, to links too", async () => {
  const image = makeImage();
  const [first, second] = image.layers;
  const long = `${"d".repeat(120)}/layer ü.tar`;
  const archive = tar([
    { name: "./x/../config.json", data: image.config.bytes },
    { name: "short", data: first?.bytes ?? "", pax: { path: `./${long}` } },
    { name: "/two/layer.tar", data: second?.bytes ?? "" },
    { name: "./hard", type: "1", link: "./two/layer.tar" },
    { name: "soft/layer.tar", type: "2", link: "../hard" },
    { name: "round", type: "2", link: "about" },
    { name: "about", type: "2", link: "round" },
    {
      name: "./manifest.json",
      data: JSON.stringify([
        { Config: "./config.json", RepoTags: ["odd:1"], Layers: [long, "soft//layer.tar"] },
      ]),
    },
  ]);
  await transfers.import(archive, naming());
  assert.equal((await cli.run(["run", "--rm", "--pull", "never", "odd:1"])).stdout, "pulled\n");
  await remove("docker.io/library/odd:1");
  const path = join(daemon.directory, "odd.tar");
  writeFileSync(path, archive);
  assert.equal(await cli.do(["load", "-i", path]), "docker.io/library/odd:1\n");
  assert.equal((await cli.run(["run", "--rm", "--pull", "never", "odd:1"])).stdout, "pulled\n");
  await remove("docker.io/library/odd:1");
});

test("names of images that are none are refused, and leave nothing", async () => {
  const image = makeImage();
  const [layer] = image.layers;
  for (const tag of ["UPPER:1", "a b:1", "x:y:z", "../up:1", "__proto__", "odd\u0000:1", "", "x@sha256:12"]) {
    const path = join(daemon.directory, "named.tar");
    const listed = [{ Config: "c", RepoTags: [tag], Layers: ["l"] }];
    const archive = tar([
      { name: "c", data: image.config.bytes },
      { name: "l", data: layer?.bytes ?? "" },
      { name: "manifest.json", data: JSON.stringify(listed) },
    ]);
    writeFileSync(path, archive);
    const output = await cli.run(["load", "-i", path]);
    assert.equal(output.status !== 0, true, tag);
    assert.match(output.stderr, /no name of an image/, tag);
  }
  assert.deepEqual(await names(), []);
});

test("an image is exported whole by the time the call is answered; the same again gives the same bytes, which import takes", async () => {
  const images = [
    makeImage({ layers: [1_000_000] }),
    makeImage({ platform: { os: "linux", architecture: "s390x" } }),
  ];
  const index = makeIndex(images);
  const name = "docker.io/library/both:1";
  const annotations = { "io.containerd.image.name": name };
  await transfers.import(layout(index, annotations, [file(index), ...images.flatMap(files)]), naming());
  const [one, two] = [await transfers.export({ name }), await transfers.export({ name })];
  assert.ok(one.equals(two), `${one.length} and ${two.length} bytes`);
  const archive = join(daemon.directory, "export.tar");
  writeFileSync(archive, one);
  const listed = (await check(["tar", "-tf", archive])).split("\n");
  const [ours, other] = images.map(({ manifest }) => path(manifest.digest));
  assert.ok(listed.includes(ours ?? "") && !listed.includes(other ?? ""), listed.join("\n"));
  const docker = JSON.parse(await check(["tar", "-xOf", archive, "manifest.json"])) as {
    RepoTags: string[];
  }[];
  assert.deepEqual(docker[0]?.RepoTags, ["both:1"]);
  writeFileSync(archive, await transfers.export({ name }, { allPlatforms: true, skipDockerManifest: true }));
  const all = (await check(["tar", "-tf", archive])).split("\n");
  assert.ok(all.includes(other ?? "") && !all.includes("manifest.json"), all.join("\n"));
  await remove(name);
  await transfers.import(one, naming());
  assert.deepEqual(await names(), [name]);
  assert.equal((await cli.run(["run", "--rm", "--pull", "never", name])).stdout, "pulled\n");
  await remove(name);
});

test("archives that are none, that lie and that lack something leave nothing", async () => {
  const image = makeImage();
  const annotations = { "io.containerd.image.name": "bad.test/x:1" };
  const whole = layout(image.manifest, annotations, files(image));
  const lying = files(image).map((entry, index) =>
    index === 2 ? { ...entry, data: "something else" } : entry,
  );
  const lacking = files(image).slice(0, -1);
  const bad: [Buffer, number, RegExp][] = [
    [Buffer.from("no archive ".repeat(100)), Code.INVALID_ARGUMENT, /archive/],
    [tar([{ name: "x", data: "y" }]), Code.INVALID_ARGUMENT, /it is no image/],
    [whole.subarray(0, whole.length / 2), Code.INVALID_ARGUMENT, /archive/],
    [layout(image.manifest, annotations, lying), Code.FAILED_PRECONDITION, /unexpected commit digest/],
    [layout(image.manifest, annotations, lacking), Code.NOT_FOUND, /not found/],
    [
      tar([{ name: "manifest.json", data: Buffer.alloc(9 * 1024 * 1024) }]),
      Code.INVALID_ARGUMENT,
      /more than 8388608/,
    ],
    [
      tar([{ name: "manifest.json", data: '[{"Config":"../../etc/passwd","Layers":[]}]' }]),
      Code.INVALID_ARGUMENT,
      /names \.\.\/\.\.\/etc\/passwd, which is not there/,
    ],
  ];
  for (const [archive, code, says] of bad) {
    await assert.rejects(transfers.import(archive, naming()), hasCode(code, says), String(says));
    await isEmpty();
  }
});

test("ends that do not go together, streams that nobody has opened, and images that are not there are refused", async () => {
  const nothing = { typeUrl: "containerd.types.transfer.Unheard", value: new Uint8Array(0) };
  await assert.rejects(
    transfers.transfer(nothing, store({ name: "x" })),
    hasCode(Code.UNIMPLEMENTED, /unable to transfer from containerd\.types\.transfer\.Unheard to ImageStore/),
  );
  await assert.rejects(
    transfers.transfer(store({ name: "absent" }), store({ name: "x" })),
    hasCode(Code.NOT_FOUND, /absent/),
  );
  await assert.rejects(transfers.export({ name: "absent" }), hasCode(Code.NOT_FOUND, /absent/));
});
