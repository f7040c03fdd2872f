// Images: unpacking beside containerd, in turns, and what a large store costs. Used by main.ts.
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { WriteAction } from "../src/api/generated/content.ts";
import { DaemonClient } from "../src/cli/containers/daemon-client.ts";
import { type Descriptor, OCI_MANIFEST } from "../src/registry/descriptor.ts";
import { manifestLabels } from "../src/transfer/pull.ts";
import { Cli } from "../test/cli/cli.ts";
import { check } from "../test/harness/command.ts";
import type { Daemon } from "../test/harness/daemon.ts";
import { inParallel } from "../test/harness/parallel.ts";
import type { Sides } from "./memory.ts";
import { median, medianTime } from "./time.ts";

const NAME = "test.invalid/bench:1";
/** The disk may be slow. */
const PATIENT = { timeoutMs: 600_000 };

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
      await ctr.do(["images", "import", archive], PATIENT);
      times[side].push(performance.now() - began);
      await ctr.do(["images", "rm", "--sync", NAME], PATIENT);
    }
  }
  return median(times[0]) / median(times[1]);
}

export interface StoreTimes {
  /** The call that lists the images, in ms. */
  readonly list: number;
  /** `holdfast images`, from its start to its end, in ms. */
  readonly shown: number;
  /** A collection that finds nothing to remove, in ms. */
  readonly collect: number;
  /** The daemon's start with the store ÷ without. */
  readonly start: number;
}

/** Fills the store with images of blobs that they point at, then lists the images, collects, and starts the daemon again. */
export async function largeStore(daemon: Daemon, images: number, blobsEach: number): Promise<StoreTimes> {
  const without = await startTime(daemon);
  await fill(daemon, images, blobsEach);
  const cli = new Cli(daemon);
  const client = await DaemonClient.connect(daemon.address, daemon.namespace, 60_000);
  try {
    const list = await medianTime(SAMPLES, async () => {
      const { images: listed } = await client.images.list({ filters: [] });
      if (listed.length < images) throw new Error(`${listed.length} images of ${images}`);
    });
    const shown = await medianTime(SAMPLES, () => cli.do(["images"]));
    const collect = await medianTime(SAMPLES, async () => {
      await client.leases.create({ id: "sweep", labels: {} });
      await client.leases.delete({ id: "sweep", sync: true });
    });
    return { list, shown, collect, start: (await startTime(daemon)) / without };
  } finally {
    client.close();
    cli.close();
  }
}

const SAMPLES = 5;

/** From the start of the process until it serves, in ms. */
function startTime(daemon: Daemon): Promise<number> {
  return medianTime(
    SAMPLES,
    () => daemon.launch(),
    () => daemon.stop(),
  );
}

async function fill(daemon: Daemon, images: number, blobsEach: number): Promise<void> {
  const client = await DaemonClient.connect(daemon.address, daemon.namespace, 60_000);
  try {
    await client.leases.create({ id: "bench", labels: {} });
    const all = Array.from({ length: images }, (_, image) => `test.invalid/${image}:1`);
    await inParallel(WIDTH, all, (name) => putImage(client.underLease("bench"), name, blobsEach));
    await client.leases.delete({ id: "bench", sync: true });
  } finally {
    client.close();
  }
}

const WIDTH = 8;

/** A manifest whose blobs are a few bytes each, labelled as a pull does it. */
async function putImage(client: DaemonClient, name: string, blobs: number): Promise<void> {
  const config = await put(client, `${name}-config`, randomBytes(16));
  const layers: Descriptor[] = [];
  for (let layer = 2; layer < blobs; layer++)
    layers.push(await put(client, `${name}-${layer}`, randomBytes(16)));
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers }));
  const { digest, size } = await put(client, name, bytes, manifestLabels(config, layers));
  const target = { mediaType: OCI_MANIFEST, digest, size: BigInt(size), annotations: {} };
  await client.images.create({
    image: { name, labels: {}, target, createdAt: undefined, updatedAt: undefined },
  });
}

async function put(
  client: DaemonClient,
  ref: string,
  data: Buffer,
  labels: Record<string, string> = {},
): Promise<Descriptor> {
  const call = client.writeContent();
  try {
    const { digest } = await call.send({ action: WriteAction.COMMIT, ref, data, labels });
    return { mediaType: "application/octet-stream", digest, size: data.length };
  } finally {
    call.end();
  }
}
