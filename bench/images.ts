// Images: unpacking beside containerd, in turns, and what a large store costs. Used by main.ts.
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { WriteAction } from "../src/api/generated/content.ts";
import { DaemonClient } from "../src/cli/containers/daemon-client.ts";
import { check } from "../test/harness/command.ts";
import type { Daemon } from "../test/harness/daemon.ts";
import type { Sides } from "./memory.ts";
import { median } from "./time.ts";

const NAME = "test.invalid/bench:1";

/** An archive of docker save: `layers` layers, each of `files` files of `bytes` random bytes. */
export async function makeArchive(
  directory: string,
  name: string,
  { layers, files, bytes }: { layers: number; files: number; bytes: number },
): Promise<string> {
  const place = join(directory, name);
  const names: string[] = [];
  const diffIds: string[] = [];
  for (let layer = 0; layer < layers; layer++) {
    const root = join(place, `root-${layer}`);
    for (let file = 0; file < files; file++) {
      const below = join(root, `d${layer}-${Math.floor(file / 500)}`);
      if (file % 500 === 0) mkdirSync(below, { recursive: true });
      writeFileSync(join(below, `f${file}`), randomBytes(bytes));
    }
    const tar = `layer-${layer}.tar`;
    await check(["tar", "-C", root, "-cf", join(place, tar), "."]);
    diffIds.push(
      `sha256:${createHash("sha256")
        .update(readFileSync(join(place, tar)))
        .digest("hex")}`,
    );
    names.push(tar);
  }
  const architecture = process.arch === "arm64" ? "arm64" : "amd64";
  const config = { architecture, os: "linux", config: {}, rootfs: { type: "layers", diff_ids: diffIds } };
  writeFileSync(join(place, "config.json"), JSON.stringify(config));
  const manifest = [{ Config: "config.json", RepoTags: [NAME], Layers: names }];
  writeFileSync(join(place, "manifest.json"), JSON.stringify(manifest));
  const archive = join(directory, `${name}.tar`);
  await check(["tar", "-C", place, "-cf", archive, "manifest.json", "config.json", ...names]);
  return archive;
}

/** The median time of `ctr images import` with unpacking, ours ÷ containerd's. */
export async function importTime(sides: Sides, archive: string, count: number): Promise<number> {
  const times: [number[], number[]] = [[], []];
  for (let turn = 0; turn < count; turn++) {
    for (const side of [0, 1] as const) {
      const { ctr } = sides[side];
      const began = performance.now();
      await ctr.do(["images", "import", archive]);
      times[side].push(performance.now() - began);
      await ctr.do(["images", "rm", "--sync", NAME]);
    }
  }
  return median(times[0]) / median(times[1]);
}

export interface StoreTimes {
  /** In ms. */
  readonly list: number;
  readonly collect: number;
}

/** Fills the store with images of blobs that they point at, then lists the images, and collects. */
export async function largeStore(daemon: Daemon, images: number, blobsEach: number): Promise<StoreTimes> {
  const client = await DaemonClient.connect(daemon.address, daemon.namespace, 60_000);
  try {
    const lease = "bench";
    await client.leases.create({ id: lease, labels: {} });
    for (let image = 0; image < images; image++)
      await putImage(client.underLease(lease), `test.invalid/${image}:1`, blobsEach);
    const began = performance.now();
    const { images: listed } = await client.images.list({ filters: [] });
    const list = performance.now() - began;
    if (listed.length !== images) throw new Error(`${listed.length} images of ${images}`);
    const before = performance.now();
    await client.leases.delete({ id: lease, sync: true });
    return { list, collect: performance.now() - before };
  } finally {
    client.close();
  }
}

/** One blob points at the others, as a manifest does. */
async function putImage(client: DaemonClient, name: string, blobs: number): Promise<void> {
  const labels: Record<string, string> = {};
  for (let blob = 1; blob < blobs; blob++)
    labels[`containerd.io/gc.ref.content.${blob}`] = await put(client, `${name}-${blob}`, {});
  const digest = await put(client, name, labels);
  const target = { mediaType: "text/plain", digest, size: 16n, annotations: {} };
  await client.images.create({
    image: { name, labels: {}, target, createdAt: undefined, updatedAt: undefined },
  });
}

async function put(client: DaemonClient, ref: string, labels: Record<string, string>): Promise<string> {
  const call = client.writeContent();
  try {
    const message = { action: WriteAction.COMMIT, ref, data: randomBytes(16), labels };
    return (await call.send(message)).digest;
  } finally {
    call.end();
  }
}
