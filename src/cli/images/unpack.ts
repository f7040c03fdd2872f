// An image's layers as snapshots: each unpacked once, by the daemon, under the digest of all layers up to it (identity.ChainID of the OCI image
// specification). What is unpacked already is taken.
import { createHash, randomBytes } from "node:crypto";
import type { Mount } from "../../api/generated/mount.ts";
import { Code } from "../../ttrpc/status.ts";
import { orNone } from "../containers/record.ts";
import { callCode, Problem } from "../text/problem.ts";
import type { ImageStore, ResolvedImage } from "./store.ts";

/** The snapshot of all layers. Throws a Problem if a layer is not what the image says. */
export async function unpackImage(
  store: ImageStore,
  snapshotter: string,
  { name, manifest, config }: ResolvedImage,
): Promise<string> {
  const diffIds = config.rootfs?.diff_ids ?? [];
  if (diffIds.length !== manifest.layers.length) {
    throw new Problem(
      `${name}: it has ${manifest.layers.length} layers, and the digests of ${diffIds.length}`,
    );
  }
  const chains = chainIds(diffIds);
  let parent = "";
  for (const [index, layer] of manifest.layers.entries()) {
    const diffId = diffIds[index] ?? "";
    const chain = chains[index] ?? "";
    if (!(await exists(store, snapshotter, chain)))
      await unpackLayer(store, { name, snapshotter, layer, diffId, parent, chain });
    parent = chain;
  }
  // So the configuration keeps the snapshot, and the image the configuration.
  if (parent !== "") {
    await store.label(manifest.config.digest, { [`containerd.io/gc.ref.snapshot.${snapshotter}`]: parent });
  }
  return parent;
}

/** The names of the snapshots of layers, the first layer first. */
export function chainIds(diffIds: readonly string[]): string[] {
  const chains: string[] = [];
  for (const diffId of diffIds) {
    const below = chains.at(-1);
    chains.push(below === undefined ? diffId : digestOf(`${below} ${diffId}`));
  }
  return chains;
}

interface Layer {
  readonly name: string;
  readonly snapshotter: string;
  readonly layer: ResolvedImage["manifest"]["layers"][number];
  readonly diffId: string;
  readonly parent: string;
  readonly chain: string;
}

async function unpackLayer(
  store: ImageStore,
  { name, snapshotter, layer, diffId, parent, chain }: Layer,
): Promise<void> {
  const { snapshots, diff } = store.daemon;
  const key = `extract-${randomBytes(8).toString("hex")} ${chain}`;
  const { mounts } = await snapshots.prepare({ snapshotter, key, parent, labels: {} });
  try {
    const { mediaType, digest, size } = layer;
    const descriptor = { mediaType, digest, size: BigInt(size), annotations: {} };
    const { applied } = await diff.apply({ diff: descriptor, mounts, payloads: {}, syncFs: false });
    if (applied?.digest !== diffId) {
      throw new Problem(`${name}: layer ${digest} unpacks to ${applied?.digest}, not to ${diffId}`);
    }
    await store.label(digest, { "containerd.io/uncompressed": diffId });
    await snapshots.commit({ snapshotter, name: chain, key, labels: {}, parent: "" });
  } catch (error) {
    await snapshots.remove({ snapshotter, key }).catch(() => {});
    // Somebody else has unpacked the same.
    if (callCode(error) !== Code.ALREADY_EXISTS) throw error;
  }
}

async function exists({ daemon }: ImageStore, snapshotter: string, key: string): Promise<boolean> {
  return (await orNone(daemon.snapshots.stat({ snapshotter, key }))) !== undefined;
}

/** A writable snapshot on top, for a container. One that an earlier container of that id has left is replaced. */
export async function prepareRoot(
  { daemon }: ImageStore,
  snapshotter: string,
  key: string,
  parent: string,
): Promise<Mount[]> {
  const { snapshots } = daemon;
  const request = { snapshotter, key, parent, labels: {} };
  try {
    return (await snapshots.prepare(request)).mounts;
  } catch (error) {
    if (callCode(error) !== Code.ALREADY_EXISTS) throw error;
    if ((await orNone(daemon.containers.get({ id: key }))) !== undefined) throw error;
    await snapshots.remove({ snapshotter, key });
    return (await snapshots.prepare(request)).mounts;
  }
}

function digestOf(text: string): string {
  return `sha256:${createHash("sha256").update(text).digest("hex")}`;
}
