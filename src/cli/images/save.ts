// Images as an archive: an OCI layout in a tar that has a manifest.json too, so that `docker load` of any age reads it. Written from front to back, blob by
// blob: nothing larger than JSON is in memory.

import { once } from "node:events";
import type { Writable } from "node:stream";
import { pack } from "tar-stream";
import type { Image } from "../../api/generated/images.ts";
import type { Platform } from "../../registry/descriptor.ts";
import { orNone } from "../containers/record.ts";
import { Problem } from "../text/problem.ts";
import { type Descriptor, isIndex, isManifest, OCI_INDEX, parseIndex, parseManifest } from "./manifest.ts";
import { shortName } from "./reference.ts";
import type { ImageStore, ResolvedImage } from "./store.ts";

type Pack = ReturnType<typeof pack>;

/** One image of the archive: what its name means there, and the image for one platform that Docker's list has. */
interface Saved {
  readonly image: Image;
  readonly target: Descriptor;
  readonly resolved: ResolvedImage;
}

const blobPath = (digest: string): string => `blobs/${digest.replace(":", "/")}`;

/** Writes images to `output`. Throws a Problem if some of what an image needs is not here. */
export async function saveImages(
  store: ImageStore,
  images: readonly Image[],
  output: Writable,
  platform: Platform | undefined,
): Promise<void> {
  const saved = await Promise.all(images.map((image) => chosen(store, image, platform)));
  const blobs = new Map<string, number>();
  for (const { target, resolved } of saved) {
    await collect(store, target, blobs);
    demand(blobs, resolved);
  }
  const tar = pack();
  const written = pipe(tar, output);
  const filled = fill(store, tar, saved, blobs).catch((error: Error) => {
    tar.destroy(error);
    throw error;
  });
  await Promise.all([filled, written]);
}

/** With a platform only that one's image is saved. */
async function chosen(store: ImageStore, image: Image, platform: Platform | undefined): Promise<Saved> {
  const resolved = await store.resolve(image, platform);
  const { digest = "", mediaType = "", size = 0n } = image.target ?? {};
  if (platform === undefined) return { image, resolved, target: { digest, mediaType, size: Number(size) } };
  const { info } = await store.daemon.content.info({ digest: resolved.digest });
  const target = { digest: resolved.digest, mediaType: resolved.mediaType, size: Number(info?.size ?? 0n) };
  return { image, resolved, target };
}

/** The blobs of an image with their sizes. What an index names need not all be here. */
async function collect(
  store: ImageStore,
  { digest, mediaType }: Descriptor,
  blobs: Map<string, number>,
): Promise<void> {
  const info = (await orNone(store.daemon.content.info({ digest })))?.info;
  if (info === undefined || blobs.has(digest)) return;
  blobs.set(digest, Number(info.size));
  const children = isIndex(mediaType)
    ? parseIndex(digest, await store.readJson(digest))
    : isManifest(mediaType)
      ? childrenOf(parseManifest(digest, await store.readJson(digest)))
      : [];
  for (const child of children) await collect(store, child, blobs);
}

function childrenOf({ config, layers }: ResolvedImage["manifest"]): Descriptor[] {
  return [config, ...layers];
}

function demand(blobs: ReadonlyMap<string, number>, { name, manifest }: ResolvedImage): void {
  const missing = childrenOf(manifest).find(({ digest }) => !blobs.has(digest));
  if (missing !== undefined)
    throw new Problem(`${name}: the daemon does not have all of it: ${missing.digest} is missing`);
}

async function fill(
  store: ImageStore,
  tar: Pack,
  saved: readonly Saved[],
  blobs: ReadonlyMap<string, number>,
): Promise<void> {
  for (const [digest, size] of [...blobs].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const entry = tar.entry({ name: blobPath(digest), size, mode: 0o444, mtime: new Date(0) });
    for await (const { data } of store.daemon.content.read({ digest, offset: 0n, size: 0n }))
      if (!entry.write(data)) await once(entry, "drain");
    entry.end(undefined);
    await once(entry, "finish");
  }
  const json = (name: string, value: unknown): void => {
    tar.entry({ name, mode: 0o444, mtime: new Date(0) }, JSON.stringify(value));
  };
  json("oci-layout", { imageLayoutVersion: "1.0.0" });
  const manifests = saved.map(({ image, target }) => ({ ...target, annotations: annotationsOf(image.name) }));
  json("index.json", { schemaVersion: 2, mediaType: OCI_INDEX, manifests });
  json("manifest.json", dockerManifest(saved));
  tar.finalize();
}

/** What `ctr images import` and Docker read names from. */
function annotationsOf(name: string): Record<string, string> {
  const tag = /:([^/:@]+)$/.exec(name)?.[1];
  return {
    "io.containerd.image.name": name,
    ...(tag !== undefined && { "org.opencontainers.image.ref.name": tag }),
  };
}

/** Several names of one image are one entry. */
function dockerManifest(saved: readonly Saved[]): unknown[] {
  const entries = new Map<string, { Config: string; RepoTags: string[]; Layers: string[] }>();
  for (const { image, resolved } of saved) {
    const { config, layers } = resolved.manifest;
    const entry = entries.get(resolved.digest) ?? {
      Config: blobPath(config.digest),
      RepoTags: [],
      Layers: layers.map(({ digest }) => blobPath(digest)),
    };
    if (!image.name.includes("@")) entry.RepoTags.push(shortName(image.name));
    entries.set(resolved.digest, entry);
  }
  return [...entries.values()];
}

async function pipe(tar: Pack, output: Writable): Promise<void> {
  for await (const chunk of tar) if (!output.write(chunk)) await once(output, "drain");
  if (output === process.stdout) return;
  output.end();
  await once(output, "close");
}
