// What images, their layers and containers take of the disk, and what of it nobody uses.
import type { Container } from "../../api/generated/containers.ts";
import type { Image } from "../../api/generated/images.ts";
import { type Info, Kind } from "../../api/generated/snapshots.ts";
import type { DaemonClient } from "../containers/daemon-client.ts";
import { IMAGE_LABEL, orNone } from "../containers/record.ts";
import { statusName } from "../text/task-status.ts";
import { isIndex, isManifest, parseIndex, parseManifest } from "./manifest.ts";
import { snapshotterOf } from "./snapshotter.ts";
import { ImageStore } from "./store.ts";

export interface Share {
  readonly type: "images" | "layers" | "containers";
  readonly total: number;
  /** Those that a container uses. */
  readonly active: number;
  /** Bytes. */
  readonly size: number;
  /** Bytes of what no container uses. */
  readonly reclaimable: number;
}

interface Sized {
  readonly size: number;
  readonly isActive: boolean;
}

export async function usageOf(daemon: DaemonClient): Promise<Share[]> {
  const [{ containers }, { images }] = await Promise.all([
    daemon.containers.list({ filters: [] }),
    daemon.images.list({ filters: [] }),
  ]);
  const store = new ImageStore(daemon);
  const snapshotter = await snapshotterOf(daemon);
  const infos = await list(daemon.snapshots.list({ snapshotter, filters: [] }));
  const used = usedSnapshots(infos, containers);
  const sized = await Promise.all(
    infos.map(async ({ name: key, kind }) => {
      const usage = await orNone(daemon.snapshots.usage({ snapshotter, key }));
      return { kind, size: Number(usage?.size ?? 0n), isActive: used.has(key) };
    }),
  );
  const { tasks } = await daemon.tasks.list({ filter: "" });
  const running = new Set(
    tasks
      .filter(({ status }) => statusName(status) !== "stopped")
      .map(({ containerId, id }) => containerId || id),
  );
  const ofContainers = infos.flatMap(({ kind, name }, index) =>
    kind === Kind.ACTIVE ? [{ size: sized[index]?.size ?? 0, isActive: running.has(name) }] : [],
  );
  return [
    await imageShare(store, images, containers),
    share(
      "layers",
      sized.filter(({ kind }) => kind === Kind.COMMITTED),
    ),
    share("containers", ofContainers),
  ];
}

function share(type: Share["type"], parts: readonly Sized[]): Share {
  const sum = (list: readonly Sized[]): number => list.reduce((total, { size }) => total + size, 0);
  const active = parts.filter(({ isActive }) => isActive);
  return {
    type,
    total: parts.length,
    active: active.length,
    size: sum(parts),
    reclaimable: sum(parts) - sum(active),
  };
}

/** Blobs that several images have count once; those that an image in use needs cannot be had back. */
async function imageShare(
  store: ImageStore,
  images: readonly Image[],
  containers: readonly Container[],
): Promise<Share> {
  const isActive = usedImages(images, containers);
  const blobs = new Map<string, Sized>();
  for (const image of images) await addBlobs(store, image.target, isActive(image), blobs);
  const { size, reclaimable } = share("images", [...blobs.values()]);
  return { type: "images", total: images.length, active: images.filter(isActive).length, size, reclaimable };
}

async function addBlobs(
  store: ImageStore,
  target: Image["target"] | { readonly digest: string; readonly mediaType: string },
  isActive: boolean,
  blobs: Map<string, Sized>,
): Promise<void> {
  if (target === undefined) return;
  const { digest, mediaType } = target;
  const known = blobs.get(digest);
  if (known !== undefined && (known.isActive || !isActive)) return;
  const info = (await orNone(store.daemon.content.info({ digest })))?.info;
  if (info === undefined) return;
  blobs.set(digest, { size: Number(info.size), isActive });
  for (const each of await childrenOf(store, digest, mediaType)) await addBlobs(store, each, isActive, blobs);
}

/** None of what has been removed by now. */
async function childrenOf(
  store: ImageStore,
  digest: string,
  mediaType: string,
): Promise<readonly { readonly digest: string; readonly mediaType: string }[]> {
  if (!isIndex(mediaType) && !isManifest(mediaType)) return [];
  const json = await orNone(store.readJson(digest));
  if (json === undefined) return [];
  if (isIndex(mediaType)) return parseIndex(digest, json);
  const { config, layers } = parseManifest(digest, json);
  return [config, ...layers];
}

/** Which images containers are made of: by name, or by what that name meant then. */
export function usedImages(
  images: readonly Image[],
  containers: readonly Container[],
): (image: Image) => boolean {
  const names = new Set(containers.map(({ image }) => image));
  const digests = new Set(containers.map(({ labels }) => labels[IMAGE_LABEL]));
  const used = new Set(
    images
      .filter(({ name, target }) => names.has(name) || digests.has(target?.digest))
      .map(({ name }) => name),
  );
  return ({ name }) => used.has(name);
}

/** The snapshots of containers, and all that they stand on. */
function usedSnapshots(infos: readonly Info[], containers: readonly Container[]): Set<string> {
  const parents = new Map(infos.map(({ name, parent }) => [name, parent]));
  const used = new Set<string>();
  for (const { snapshotKey } of containers) {
    for (let key = snapshotKey; key !== "" && !used.has(key); key = parents.get(key) ?? "") used.add(key);
  }
  return used;
}

async function list(messages: AsyncIterable<{ info: Info[] }>): Promise<Info[]> {
  const found: Info[] = [];
  for await (const { info } of messages) found.push(...info);
  return found;
}
