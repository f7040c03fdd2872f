// Images made here: of a container (commit), and of a root file system in a tar (import). Each is one new layer, a configuration and a manifest.

import { randomBytes } from "node:crypto";
import type { Readable } from "node:stream";
import type { Container } from "../../api/generated/containers.ts";
import type { Platform } from "../../registry/descriptor.ts";
import { HOST_PLATFORM } from "../../transfer/platforms.ts";
import { chainIds } from "../../transfer/unpack.ts";
import { IMAGE_LABEL, processIn } from "../containers/record.ts";
import { snapshotOf } from "../containers/root.ts";
import { Problem } from "../text/problem.ts";
import { withChanges } from "./changes.ts";
import {
  childLabels,
  type Descriptor,
  DOCKER_CONFIG,
  DOCKER_LAYER_GZIP,
  DOCKER_MANIFEST,
  type ImageConfig,
  OCI_CONFIG,
  OCI_LAYER,
  OCI_LAYER_GZIP,
  OCI_MANIFEST,
} from "./manifest.ts";
import { packedSource } from "./packed-source.ts";
import { snapshotterOf } from "./snapshotter.ts";
import type { ImageStore, ResolvedImage } from "./store.ts";
import { withView } from "./views.ts";

/** Of a layer that is packed. */
const PACKED_LAYERS = { none: undefined, gzip: OCI_LAYER_GZIP, zstd: `${OCI_LAYER}+zstd` } as const;

export interface MakeOptions {
  readonly author: string | undefined;
  readonly message: string | undefined;
  readonly changes: readonly string[];
}

interface NewLayer {
  readonly layer: Descriptor;
  readonly diffId: string;
  readonly createdBy: string;
}

/** The image of a container's files, under `name`. Resolves to its digest. Throws a Problem for a container that has no image. */
export async function commitContainer(
  store: ImageStore,
  container: Container,
  name: string,
  options: MakeOptions,
): Promise<string> {
  const base = await imageOf(store, container);
  const { snapshotter, key } = snapshotOf(container);
  const { snapshots, diff: differ } = store.daemon;
  await store.holdSnapshot(snapshotter, key);
  const { info } = await snapshots.stat({ snapshotter, key });
  const diffIds = base.config.rootfs?.diff_ids ?? [];
  if ((chainIds(diffIds).at(-1) ?? "") !== info?.parent)
    throw new Problem(`${container.id}: it does not stand on ${base.name} as that is now`);
  const { mounts: right } = await snapshots.mounts({ snapshotter, key });
  const { diff } = await withView(store, snapshotter, info.parent, (left) =>
    differ.diff({ left, right, mediaType: OCI_LAYER_GZIP, ref: "", labels: {}, sourceDateEpoch: undefined }),
  );
  const digest = diff?.digest ?? "";
  const { info: layer } = await store.daemon.content.info({ digest });
  const isDocker = base.mediaType === DOCKER_MANIFEST;
  const made: NewLayer = {
    layer: {
      mediaType: isDocker ? DOCKER_LAYER_GZIP : OCI_LAYER_GZIP,
      digest,
      size: Number(diff?.size ?? 0n),
    },
    diffId: layer?.labels["containerd.io/uncompressed"] ?? digest,
    createdBy: processIn(container).args.join(" "),
  };
  return putImage(store, name, made, base, options);
}

/** The image that a container was made of, whatever its name means today. */
async function imageOf(store: ImageStore, container: Container): Promise<ResolvedImage> {
  const { image: name, labels } = container;
  const digest = labels[IMAGE_LABEL];
  if (name === "") throw new Problem(`${container.id}: it was made of no image`);
  if (digest === undefined) return store.resolve(await store.find(name));
  // The container keeps it, and may be deleted before the new image does.
  await store.hold(name, digest);
  return store.resolveDigest(name, digest);
}

/** The image of a root file system in a tar, packed or not, under `name`. Resolves to its digest. */
export async function importRootfs(
  store: ImageStore,
  input: Readable,
  name: string,
  platform: Platform | undefined,
  options: MakeOptions,
): Promise<string> {
  const { digest, size, packing } = await writeLayer(store, input);
  const { snapshots, diff } = store.daemon;
  const snapshotter = await snapshotterOf(store.daemon);
  const key = `import-${randomBytes(8).toString("hex")}`;
  const { mounts } = await snapshots.prepare({ snapshotter, key, parent: "", labels: {} });
  let diffId: string;
  try {
    const descriptor = { mediaType: packing ?? OCI_LAYER, digest, size: BigInt(size), annotations: {} };
    const { applied } = await diff.apply({ diff: descriptor, mounts, payloads: {}, syncFs: false });
    diffId = applied?.digest ?? digest;
  } finally {
    await snapshots.remove({ snapshotter, key }).catch(() => {});
  }
  const isPlain = diffId === digest;
  if (!isPlain && packing === undefined)
    throw new Problem(
      "the archive is packed by what images do not have: give it plain, or packed by gzip or zstd",
    );
  await store.label(digest, { "containerd.io/uncompressed": diffId });
  const layer = { mediaType: isPlain ? OCI_LAYER : (packing ?? OCI_LAYER), digest, size };
  const config: ImageConfig = platform ?? HOST_PLATFORM;
  const base = { mediaType: OCI_MANIFEST, manifest: { layers: [] }, config };
  return putImage(store, name, { layer, diffId, createdBy: "holdfast import" }, base, options);
}

/** `packing` is the media type of a layer that is packed. */
async function writeLayer(
  store: ImageStore,
  input: Readable,
): Promise<{ digest: string; size: number; packing: string | undefined }> {
  const { chunks, packing } = packedSource(input as AsyncIterable<Buffer>);
  const written = await store.write(chunks);
  return { ...written, packing: PACKED_LAYERS[packing()] };
}

/** Configuration, manifest and name of `base` with one more layer. */
async function putImage(
  store: ImageStore,
  name: string,
  { layer, diffId, createdBy }: NewLayer,
  base: {
    readonly mediaType: string;
    readonly manifest: { readonly layers: readonly Descriptor[] };
    readonly config: ImageConfig;
  },
  { author, message, changes }: MakeOptions,
): Promise<string> {
  const created = new Date().toISOString();
  const { config } = base;
  const entry = {
    created,
    created_by: createdBy,
    ...(author !== undefined && { author }),
    ...(message !== undefined && { comment: message }),
  };
  const written = await store.writeJson(
    {
      ...config,
      created,
      ...(author !== undefined && { author }),
      config: withChanges(config.config ?? {}, changes),
      rootfs: { type: "layers", diff_ids: [...(config.rootfs?.diff_ids ?? []), diffId] },
      history: [...(config.history ?? []), entry],
    },
    {},
  );
  const isDocker = base.mediaType === DOCKER_MANIFEST;
  const described: Descriptor = { mediaType: isDocker ? DOCKER_CONFIG : OCI_CONFIG, ...written };
  const layers = [...base.manifest.layers, layer];
  const mediaType = isDocker ? DOCKER_MANIFEST : OCI_MANIFEST;
  const manifest = { schemaVersion: 2, mediaType, config: described, layers };
  const target = await store.writeJson(manifest, childLabels([described, ...layers]));
  await store.name(name, { mediaType, ...target });
  return target.digest;
}
