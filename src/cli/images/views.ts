// A committed snapshot looked at: what an image has, without a container.
import { randomBytes } from "node:crypto";
import type { Mount } from "../../api/generated/mount.ts";
import type { ImageStore } from "./store.ts";

/** Gives `act` the mounts of a committed snapshot, which nobody can write by; of "" those of an empty directory. */
export async function withView<T>(
  { daemon: { snapshots } }: ImageStore,
  snapshotter: string,
  parent: string,
  act: (mounts: Mount[]) => Promise<T>,
): Promise<T> {
  const key = `view-${randomBytes(8).toString("hex")}`;
  const { mounts } = await snapshots.view({ snapshotter, key, parent, labels: {} });
  try {
    return await act(mounts);
  } finally {
    await snapshots.remove({ snapshotter, key }).catch(() => {});
  }
}
