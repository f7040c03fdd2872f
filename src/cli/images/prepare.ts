// An image made ready for a container: unpacked, with a snapshot of the container's own on top.

import type { Image } from "../../api/generated/images.ts";
import type { Mount } from "../../api/generated/mount.ts";
import type { Platform } from "../../registry/descriptor.ts";
import { Progresses } from "../../transfer/progress.ts";
import { labelContent, missingLabels } from "../../transfer/services.ts";
import { chainIds, snapshotLabel, unpackLayers } from "../../transfer/unpack.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { orNone } from "../containers/record.ts";
import { callCode, Problem } from "../text/problem.ts";
import type { ImageConfig } from "./manifest.ts";
import { snapshotterOf } from "./snapshotter.ts";
import type { ImageStore, ResolvedImage } from "./store.ts";

export interface PreparedImage {
  readonly name: string;
  readonly config: ImageConfig;
  /** Of its manifest. */
  readonly digest: string;
  readonly snapshotter: string;
  /** The snapshot of its layers. */
  readonly parent: string;
  /** The container's own root file system, for its task. */
  readonly rootfs: readonly Mount[];
  /** What the root file system is made of, the topmost first. */
  readonly directories: readonly string[];
}

/** Throws a Problem if the image has gone, or there is none for this machine. */
export async function prepareImage(
  store: ImageStore,
  id: string,
  wanted: Image,
  platform: Platform | undefined,
): Promise<PreparedImage> {
  const [image, snapshotter] = await Promise.all([
    store.resolve(wanted, platform),
    snapshotterOf(store.daemon),
  ]);
  const { parent, rootfs } = await makeRoot(store, snapshotter, id, image);
  const { name, config, digest } = image;
  return { name, config, digest, snapshotter, parent, rootfs, directories: rootfs.flatMap(directoriesOf) };
}

type Root = Pick<PreparedImage, "parent" | "rootfs">;

/** Most images are unpacked: the container's snapshot is made at once then, and keeps those below it. */
async function makeRoot(
  store: ImageStore,
  snapshotter: string,
  id: string,
  image: ResolvedImage,
): Promise<Root> {
  const root = await makeRootAtOnce(store, snapshotter, id, image);
  if (root !== undefined) return root;
  const parent = await unpackImage(store, snapshotter, image);
  return { parent, rootfs: await prepareRoot(store, snapshotter, id, parent) };
}

/** undefined if the image is not unpacked, or its configuration makes no sense: unpacking it says so. */
async function makeRootAtOnce(
  store: ImageStore,
  snapshotter: string,
  id: string,
  { manifest, config }: ResolvedImage,
): Promise<Root | undefined> {
  const diffIds: unknown = config.rootfs?.diff_ids;
  const isSound = Array.isArray(diffIds) && diffIds.length === manifest.layers.length;
  const parent = isSound ? chainIds(diffIds.map(String)).at(-1) : undefined;
  if (parent === undefined) return undefined;
  const { daemon } = store;
  const { digest } = manifest.config;
  const [rootfs, labels] = await Promise.all([
    orNone(prepareRoot(store, snapshotter, id, parent)),
    missingLabels(daemon, digest, snapshotLabel(snapshotter, parent)),
  ]);
  if (rootfs === undefined) return undefined;
  await labelContent(daemon, digest, labels);
  return { parent, rootfs };
}

async function unpackImage(
  { daemon }: ImageStore,
  snapshotter: string,
  { name, manifest }: ResolvedImage,
): Promise<string> {
  try {
    return await unpackLayers({
      services: daemon,
      scope: daemon.namespace,
      snapshotter,
      config: manifest.config,
      layers: manifest.layers,
      fetched: async () => {},
      progresses: new Progresses(() => {}, name, ""),
      signal: new AbortController().signal,
    });
  } catch (error) {
    if (!(error instanceof TtrpcError)) throw error;
    throw new Problem(`${name}: ${error.rawMessage}`, undefined, { cause: error });
  }
}

/** A writable snapshot on top, for a container. One that an earlier container of that id has left is replaced. */
async function prepareRoot(
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

function directoriesOf({ type, source, options }: Mount): string[] {
  if (type !== "overlay") return [source];
  const value = (name: string): string[] =>
    options
      .find((option) => option.startsWith(`${name}=`))
      ?.slice(name.length + 1)
      .split(":") ?? [];
  return [...value("upperdir"), ...value("lowerdir")];
}
