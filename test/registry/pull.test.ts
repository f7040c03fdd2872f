// Pulls from a real registry, by holdfast and by a newer ctr's way (the transfer service), into holdfastd.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
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
  assert.match(await labelsOf(image.layers[1]?.digest ?? ""), /distribution\.source\.127\.0\.0\.1:\d+=app/);
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
