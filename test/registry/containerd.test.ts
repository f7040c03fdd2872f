// On a containerd whose transfer service is not there, or not whole (1.7), holdfast pulls and pushes by itself, by its other services, with the same outcome.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Cli } from "../cli/cli.ts";
import { Daemon } from "../harness/daemon.ts";
import { DockerRegistry, PASSWORD, USER } from "./docker-registry.ts";
import { makeImage, makeIndex, putImage, putManifest } from "./image.ts";

const daemon = await Daemon.start({ kind: "containerd" });
const cli = new Cli(daemon);
let registry: DockerRegistry;
before(async () => {
  registry = await DockerRegistry.start({ directory: join(daemon.directory, "registry"), password: true });
});
after(async () => {
  cli.close();
  await registry.close();
  await daemon.close();
});

test("an image is pulled, run and pushed, and no lease is left", async () => {
  const images = [
    makeImage({ layers: [2_000_000] }),
    makeImage({ platform: { os: "linux", architecture: "s390x" } }),
  ];
  for (const image of images) await putImage(registry, "app", image.manifest.digest, image);
  await putManifest(registry, "app", "1", makeIndex(images));
  const name = `${registry.host}/app:1`;
  const refused = await cli.run(["pull", name]);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /authorization failed/);
  const user = ["--user", `${USER}:${PASSWORD}`];
  const pulled = await cli.do(["pull", ...user, name]);
  assert.match(pulled, /layer [0-9a-f]{12}: extracted/);
  assert.equal((await cli.run(["run", "--rm", "--pull", "never", name])).stdout, "pulled\n");
  const to = `${registry.host}/pushed:1`;
  assert.equal(await cli.do(["push", "-q", ...user, name, to]), `${to}\n`);
  assert.equal(registry.requests(/"PUT \/v2\/pushed\/manifests\/1 .* 201 /), 1);
  assert.equal((await daemon.ctr.do(["leases", "ls", "-q"])).trim(), "");
});
