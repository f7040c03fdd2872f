// An image made ready for a container: unpacked, with a snapshot of the container's own on top.

import type { Mount } from "../../api/generated/mount.ts";
import type { Platform } from "../../registry/descriptor.ts";
import type { ImageConfig } from "./manifest.ts";
import { snapshotterOf } from "./snapshotter.ts";
import type { ImageStore } from "./store.ts";
import { prepareRoot, unpackImage } from "./unpack.ts";

export interface PreparedImage {
  readonly name: string;
  readonly config: ImageConfig;
  /** Of its manifest. */
  readonly digest: string;
  readonly snapshotter: string;
  /** The snapshot of its layers. */
  readonly parent: string;
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
  const image = await store.resolve(await store.find(text), platform);
  const snapshotter = await snapshotterOf(store.daemon);
  const parent = await unpackImage(store, snapshotter, image);
  const mounts = await prepareRoot(store, snapshotter, id, parent);
  const { name, config, digest } = image;
  return { name, config, digest, snapshotter, parent, directories: mounts.flatMap(directoriesOf) };
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
