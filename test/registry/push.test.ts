// Pushes to a real registry: what it has is not sent again, what another repository of it has is mounted, an index goes as a whole.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Cli } from "../cli/cli.ts";
import { Daemon } from "../harness/daemon.ts";
import { DockerRegistry } from "./docker-registry.ts";
import { makeImage, makeIndex, putImage, putManifest, type TestImage } from "./image.ts";

const daemon = await Daemon.start({ kind: "holdfastd" });
const cli = new Cli(daemon);
let from: DockerRegistry;
let to: DockerRegistry;
before(async () => {
  from = await DockerRegistry.start({ directory: join(daemon.directory, "from") });
  to = await DockerRegistry.start({ directory: join(daemon.directory, "to") });
});
after(async () => {
  cli.close();
  await from.close();
  await to.close();
  await daemon.close();
});

const blobsOf = ({ manifest, config, layers }: TestImage): string[] =>
  [manifest, config, ...layers].map(({ digest }) => digest);

test("an image goes to another registry whole, under another name, and is not sent again", async () => {
  const image = makeImage({ layers: [2_000_000, 10] });
  await putImage(from, "app", "1", image);
  await cli.do(["pull", "-q", `${from.host}/app:1`]);
  const name = `${to.host}/team/app:2`;
  const pushed = await cli.run(["push", `${from.host}/app:1`, name]);
  assert.equal(pushed.status, 0, pushed.stderr);
  assert.equal(pushed.stdout.trimEnd().split("\n").at(-1), name);
  for (const digest of blobsOf(image)) assert.ok(to.has(digest), digest);
  const uploads = to.requests(/"POST .*blobs\/uploads/);
  assert.equal(uploads, 4);
  await cli.do(["push", "-q", `${from.host}/app:1`, name]);
  assert.equal(to.requests(/"POST .*blobs\/uploads/), uploads);
  // And back again by its new name.
  await cli.do(["pull", "-q", name]);
  assert.equal((await cli.run(["run", "--rm", "--pull", "never", name])).stdout, "pulled\n");
});

test("what another repository of the registry has is mounted, not sent", async () => {
  const image = makeImage({ layers: [1_000_000] });
  await putImage(to, "origin", "1", image);
  await cli.do(["pull", "-q", `${to.host}/origin:1`]);
  await cli.do(["push", "-q", `${to.host}/origin:1`, `${to.host}/other:1`]);
  assert.equal(to.requests(/"POST \/v2\/other\/blobs\/uploads\/\?mount=.* 201 /), 3);
  assert.equal(to.requests(/"PUT \/v2\/other\/blobs/), 0);
});

test("an index goes with all its manifests; one that is not here as a whole goes as the manifest that is", async () => {
  const images = [makeImage(), makeImage({ platform: { os: "linux", architecture: "riscv64" } })];
  const index = makeIndex(images);
  for (const image of images) await putImage(from, "multi", image.manifest.digest, image);
  await putManifest(from, "multi", "1", index);
  const name = `${from.host}/multi:1`;
  await cli.do(["pull", "-q", name]);
  const alone = await cli.run(["push", name, `${to.host}/multi:one`]);
  assert.equal(alone.status, 0, alone.stderr);
  assert.equal(to.has(index.digest), false);
  assert.ok(to.has(images[0]?.manifest.digest ?? ""));
  await cli.do(["pull", "-q", "--all-platforms", name]);
  await cli.do(["push", "-q", name, `${to.host}/multi:all`]);
  assert.ok(to.has(index.digest));
  for (const digest of images.flatMap(blobsOf)) assert.ok(to.has(digest), digest);
});

test("an image that is not here, and a platform that it is not for, are refused", async () => {
  const absent = await cli.run(["push", `${to.host}/absent:1`]);
  assert.equal(absent.status, 1);
  assert.match(absent.stderr, /no such image/);
  const foreign = await cli.run([
    "push",
    "--platform",
    "linux/s390x",
    `${from.host}/multi:1`,
    `${to.host}/x:1`,
  ]);
  assert.equal(foreign.status, 1);
  assert.match(foreign.stderr, /not here for linux\/s390x/);
});
