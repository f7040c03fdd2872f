// Images of a shape that not every image has: with attestations beside the image, as builders make them, and with as many layers as Docker allows.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { OCI_INDEX, OCI_MANIFEST } from "../../src/registry/descriptor.ts";
import { Cli } from "../cli/cli.ts";
import { Daemon } from "../harness/daemon.ts";
import { FaultyRegistry } from "./faulty-registry.ts";
import { type Blob, blob, makeImage, type TestImage } from "./image.ts";

const daemon = await Daemon.start({ kind: "holdfastd" });
const cli = new Cli(daemon);
let registry: FaultyRegistry;
before(async () => {
  registry = await FaultyRegistry.start();
});
after(async () => {
  cli.close();
  await registry.close();
  await daemon.close();
});

const json = (mediaType: string, value: object): Blob => blob(mediaType, Buffer.from(JSON.stringify(value)));
const described = ({ mediaType, digest, size }: Blob): object => ({ mediaType, digest, size });

/** What builders put beside an image: it says what that was made of, and cannot be run. */
function attestation(): TestImage {
  const platform = { os: "unknown", architecture: "unknown" };
  const statement = json("application/vnd.in-toto+json", { _type: "https://in-toto.io/Statement/v0.1" });
  const rootfs = { type: "layers", diff_ids: [statement.digest] };
  const config = json("application/vnd.oci.image.config.v1+json", { ...platform, config: {}, rootfs });
  const manifest = json(OCI_MANIFEST, {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: described(config),
    layers: [described(statement)],
  });
  return { manifest, config, layers: [statement], platform };
}

test("attestations of an index are no image: pull, run, list, save and load do as if there were none", async () => {
  const [image, beside] = [makeImage(), attestation()];
  const annotations = {
    "vnd.docker.reference.digest": image.manifest.digest,
    "vnd.docker.reference.type": "attestation-manifest",
  };
  const index = json(OCI_INDEX, {
    schemaVersion: 2,
    mediaType: OCI_INDEX,
    // Before the image: whoever takes the first takes it.
    manifests: [
      { ...described(beside.manifest), platform: beside.platform, annotations },
      { ...described(image.manifest), platform: image.platform },
    ],
  });
  for (const each of [image, beside]) registry.add(each.manifest.digest, each);
  registry.add("1", { ...image, manifest: index });
  const name = `${registry.host}/app:1`;
  const size = [image.config, ...image.layers].reduce((sum, each) => sum + each.size, 0);
  await cli.do(["pull", "-q", name]);
  assert.equal(registry.asked(new RegExp(beside.manifest.digest)).length, 0);
  await cli.do(["pull", "-q", "--all-platforms", name]);
  assert.ok(registry.asked(new RegExp(beside.manifest.digest)).length > 0);
  const listed = (await cli.json(["images"])) as { name: string; size: number }[];
  assert.deepEqual(
    listed.map((each) => [each.name, each.size]),
    [[name, size]],
  );
  const archive = join(cli.directory, "image.tar");
  await cli.do(["save", "-o", archive, name]);
  await cli.do(["rmi", name]);
  for (const load of [
    () => cli.do(["load", "-i", archive]),
    () => daemon.ctr.do(["images", "import", archive]),
  ]) {
    await load();
    assert.equal((await cli.run(["run", "--rm", "--pull", "never", name])).stdout, "pulled\n");
    await cli.do(["rmi", name]);
  }
  assert.equal((await daemon.ctr.do(["content", "ls", "-q"])).trim(), "");
});

test("an image of 127 layers, whose names take more than a page, is unpacked, run and compared", async () => {
  registry.add("deep", makeImage({ layers: Array.from({ length: 126 }, () => 10) }));
  const name = `${registry.host}/app:deep`;
  await cli.do(["pull", "-q", name]);
  assert.equal(
    await cli.do(["run", "--name", "deep", name, "sh", "-c", "echo /layer-* >/made; cat /made"]),
    `${Array.from({ length: 126 }, (_, index) => `/layer-${index + 1}`)
      .sort()
      .join(" ")}\n`,
  );
  assert.equal(await cli.do(["diff", "deep"]), "A /made\n");
  await cli.do(["delete", "deep"]);
  await cli.do(["rmi", name]);
});
