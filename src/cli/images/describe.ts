// An image as `holdfast inspect` shows it.
import type { Image } from "../../api/generated/images.ts";
import { nsFromTimestamp } from "../../api/timestamp.ts";
import type { DaemonClient } from "../containers/daemon-client.ts";
import { nsToIso } from "../text/units.ts";
import { ImageStore } from "./store.ts";

export async function describeImage(daemon: DaemonClient, image: Image): Promise<unknown> {
  const { name, target, labels, createdAt, updatedAt } = image;
  const iso = (at: Image["createdAt"]): string | null =>
    at === undefined ? null : (nsToIso(nsFromTimestamp(at)) ?? null);
  const { digest, manifest, config } = await new ImageStore(daemon).resolve(image);
  return {
    name,
    digest: target?.digest ?? null,
    mediaType: target?.mediaType ?? null,
    labels,
    createdAt: iso(createdAt),
    updatedAt: iso(updatedAt),
    manifest: digest,
    layers: manifest.layers.map(({ digest: layer, mediaType, size }) => ({ digest: layer, mediaType, size })),
    size: [manifest.config, ...manifest.layers].reduce((sum, { size }) => sum + size, 0),
    ...pick(config),
  };
}

function pick(config: Awaited<ReturnType<ImageStore["resolve"]>>["config"]): Record<string, unknown> {
  const { os, architecture, variant, created, author, config: run, rootfs, history } = config;
  return {
    os: os ?? null,
    architecture: architecture ?? null,
    variant: variant ?? null,
    created: created ?? null,
    author: author ?? null,
    config: run ?? {},
    diffIds: rootfs?.diff_ids ?? [],
    history: history ?? [],
  };
}
