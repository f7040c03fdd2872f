// What images take, packed, for a list of them: one call for all blobs, whose labels say what belongs to what, as a thousand images are thousands of
// manifests to read.
import type { Info } from "../../api/generated/content.ts";
import type { Image } from "../../api/generated/images.ts";
import { isIndex, isManifest } from "./manifest.ts";
import type { ImageStore } from "./store.ts";

const CONFIG = "containerd.io/gc.ref.content.config";
const LAYER = "containerd.io/gc.ref.content.l.";
const MANIFEST = "containerd.io/gc.ref.content.m.";

type Infos = ReadonlyMap<string, Info>;

/** Bytes of each image, as it is for this machine; undefined for one of which something is not there. */
export async function imageSizes(
  store: ImageStore,
  images: readonly Image[],
): Promise<ReadonlyMap<Image, number | undefined>> {
  const infos = new Map<string, Info>();
  for await (const { info } of store.daemon.content.list({ filters: [] }))
    for (const each of info) infos.set(each.digest, each);
  const sized = images.map(
    async (image) => [image, labelledSize(infos, image.target) ?? (await readSize(store, image))] as const,
  );
  return new Map(await Promise.all(sized));
}

/** By the labels alone; undefined if they do not tell. */
function labelledSize(infos: Infos, target: Image["target"]): number | undefined {
  if (target === undefined) return undefined;
  const { mediaType, digest } = target;
  if (isManifest(mediaType)) return manifestSize(infos, digest);
  if (!isIndex(mediaType)) return undefined;
  const children = new Set(labelled(infos, digest, MANIFEST));
  const there = [...children].map((each) => manifestSize(infos, each)).filter((each) => each !== undefined);
  // Of several, the manifests themselves say which is for this machine.
  return there.length === 1 ? there[0] : undefined;
}

function manifestSize(infos: Infos, digest: string): number | undefined {
  const config = labelled(infos, digest, CONFIG);
  if (config.length !== 1) return undefined;
  let sum = 0;
  for (const each of [...config, ...labelled(infos, digest, LAYER)]) {
    const info = infos.get(each);
    if (info === undefined) return undefined;
    sum += Number(info.size);
  }
  return sum;
}

function labelled(infos: Infos, digest: string, prefix: string): string[] {
  const labels = infos.get(digest)?.labels ?? {};
  return Object.keys(labels)
    .filter((name) => name.startsWith(prefix))
    .map((name) => labels[name] ?? "");
}

async function readSize(store: ImageStore, image: Image): Promise<number | undefined> {
  try {
    const { manifest } = await store.resolve(image);
    return [manifest.config, ...manifest.layers].reduce((sum, { size }) => sum + size, 0);
  } catch {
    return undefined;
  }
}
