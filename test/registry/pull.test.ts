// Pulls from a real registry, by holdfast and by a newer ctr's way (the transfer service), into holdfastd.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Cli } from "../cli/cli.ts";
import { Daemon } from "../harness/daemon.ts";
import { DockerRegistry } from "./docker-registry.ts";
import { makeImage, makeIndex, putImage, putManifest } from "./image.ts";

const daemon = await Daemon.start({ kind: "holdfastd" });
const cli = new Cli(daemon);
let registry: DockerRegistry;
before(async () => {
  registry = await DockerRegistry.start({ directory: join(daemon.directory, "registry") });
});
after(async () => {
  cli.close();
  await registry.close();
  await daemon.close();
});

/** Labels of a blob. */
const labelsOf = async (digest: string): Promise<string> => {
  const lines = (await daemon.ctr.do(["content", "ls"])).split("\n");
  return lines.find((line) => line.startsWith(digest)) ?? "";
};

test("an image is pulled, unpacked, named and run; what is said in a pipe is lines", async () => {
  const image = makeImage({ layers: [200_000, 3_000_000] });
  await putImage(registry, "app", "1", image);
  const name = `${registry.host}/app:1`;
  const pulled = await cli.run(["pull", name]);
  assert.equal(pulled.status, 0, pulled.stderr);
  const lines = pulled.stdout.trimEnd().split("\n");
  assert.equal(lines.at(-1), name);
  for (const { digest } of image.layers) {
    const short = digest.slice("sha256:".length, "sha256:".length + 12);
    assert.ok(lines.includes(`layer ${short}: complete`), pulled.stdout);
    assert.ok(lines.includes(`layer ${short}: extracted`), pulled.stdout);
  }
  assert.equal((await cli.run(["run", "--rm", "--pull", "never", name])).stdout, "pulled\n");
  assert.match(
    await labelsOf(image.manifest.digest),
    new RegExp(`gc.ref.content.config=${image.config.digest}`),
  );
  assert.match(await labelsOf(image.layers[1]?.digest ?? ""), /distribution\.source\.127\.0\.0\.1=app/);
  // Nothing that only a pull needs stays.
  assert.equal((await daemon.ctr.do(["leases", "ls", "-q"])).trim(), "");
  assert.doesNotMatch(await daemon.ctr.do(["snapshots", "ls"]), /extract-/);
});

test("run gets an image that is missing", async () => {
  await putImage(registry, "missing", "latest", makeImage({ command: ["echo", "got it"] }));
  const name = `${registry.host}/missing`;
  assert.match((await cli.run(["run", "--rm", "--pull", "never", name])).stderr, /no such image/);
  const run = await cli.run(["run", "--rm", name]);
  assert.deepEqual([run.status, run.stdout], [0, "got it\n"], run.stderr);
  // It has moved on in the registry.
  await putImage(registry, "missing", "latest", makeImage({ command: ["echo", "newer"] }));
  assert.equal((await cli.run(["run", "--rm", name])).stdout, "got it\n");
  assert.equal((await cli.run(["run", "--rm", "--pull", "always", name])).stdout, "newer\n");
});

test("of an index what runs here is taken, the best variant of it; others when they are asked for", async () => {
  const arm = { os: "linux", architecture: "arm64", variant: "v8" };
  const [ours, older, foreign] = [
    makeImage({ command: ["echo", "ours"] }),
    makeImage({ platform: { os: "linux", architecture: "386" }, format: "docker" }),
    makeImage({ platform: arm }),
  ] as const;
  const images = [older, foreign, ours];
  for (const image of images) await putImage(registry, "multi", image.manifest.digest, image);
  await putManifest(registry, "multi", "1", makeIndex(images));
  const name = `${registry.host}/multi:1`;
  assert.equal((await cli.run(["run", "--rm", name])).stdout, "ours\n");
  // By one manifest that is there, and by that of several which is for this machine.
  const size = [ours.config, ...ours.layers].reduce((sum, each) => sum + each.size, 0);
  assert.equal(await listedSize(name), size);
  const has = async (digest: string): Promise<boolean> => (await labelsOf(digest)) !== "";
  assert.deepEqual(await Promise.all(images.map(({ manifest }) => has(manifest.digest))), [
    false,
    false,
    true,
  ]);
  await cli.do(["pull", "-q", "--platform", "linux/arm64", name]);
  // What was there before is still kept.
  await daemon.ctr.do(["leases", "create", "--id", "sweep"]);
  await daemon.ctr.do(["leases", "rm", "--sync", "sweep"]);
  assert.deepEqual(await Promise.all(images.map(({ manifest }) => has(manifest.digest))), [
    false,
    true,
    true,
  ]);
  await cli.do(["pull", "-q", "--all-platforms", name]);
  assert.deepEqual(await Promise.all(images.map(({ config }) => has(config.digest))), [true, true, true]);
  assert.equal(await listedSize(name), size);
  const none = await cli.run(["pull", "--platform", "linux/s390x", name]);
  assert.equal(none.status, 1);
  assert.match(none.stderr, /no match for platform linux\/s390x .*there is linux\/386, linux\/arm64\/v8/);
});

/** As `holdfast images` has it. */
async function listedSize(name: string): Promise<number | null | undefined> {
  const listed = (await cli.json(["images"])) as { name: string; size: number | null }[];
  return listed.find((each) => each.name === name)?.size;
}

test("schema 2 and its list, and an image by its digest", async () => {
  const image = makeImage({ format: "docker", command: ["echo", "schema 2"] });
  await putImage(registry, "docker", image.manifest.digest, image);
  const list = makeIndex([image], "docker");
  await putManifest(registry, "docker", "list", list);
  for (const reference of [`docker@${image.manifest.digest}`, "docker:list", `docker@${list.digest}`]) {
    const run = await cli.run(["run", "--rm", `${registry.host}/${reference}`]);
    assert.equal(run.stdout, "schema 2\n", run.stderr);
  }
});

test("on a terminal there is a bar for every layer, and its end is the image's name", async () => {
  const image = makeImage({ layers: [500_000, 700_000] });
  await putImage(registry, "bars", "1", image);
  const terminal = cli.terminal(["pull", `${registry.host}/bars:1`]);
  const { status, stdout: text } = await terminal.exited;
  assert.equal(status, 0, text);
  for (const { digest } of image.layers)
    assert.match(
      text,
      new RegExp(
        `${digest.slice("sha256:".length, "sha256:".length + 12)}  (extracted|already exists) +\\[=+\\]`,
      ),
    );
  assert.match(text.trimEnd(), /\/bars:1$/);
});

test("references that are none are refused before anything is asked", async () => {
  for (const text of ["UPPER:1", "a//b", "host:5000/x@sha256:12", "x:y:z"]) {
    const output = await cli.run(["pull", text]);
    assert.equal(output.status, 2, text);
    assert.match(output.stderr, /no name of an image/);
  }
});
