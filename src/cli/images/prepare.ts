// An image made ready for a container: unpacked, with a snapshot of the container's own on top.

import type { Mount } from "../../api/generated/mount.ts";
import type { Platform } from "../../registry/descriptor.ts";
import { Progresses } from "../../transfer/progress.ts";
import { unpackLayers } from "../../transfer/unpack.ts";
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

/** Throws a Problem if there is no such image, or none for this machine. */
export async function prepareImage(
  store: ImageStore,
  id: string,
  text: string,
  platform: Platform | undefined,
): Promise<PreparedImage> {
  const found = await store.find(text);
  const [image, snapshotter] = await Promise.all([
    store.resolve(found, platform),
    snapshotterOf(store.daemon),
  ]);
  const parent = await unpackImage(store, snapshotter, image);
  const rootfs = await prepareRoot(store, snapshotter, id, parent);
  const { name, config, digest } = image;
  return { name, config, digest, snapshotter, parent, rootfs, directories: rootfs.flatMap(directoriesOf) };
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
