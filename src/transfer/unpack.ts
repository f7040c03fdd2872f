// The layers of an image as snapshots, each under the digest of all layers up to it (identity.ChainID of the OCI image specification), as they come in. What
// is unpacked already is taken. The lease keeps every one of them: nothing else does before the configuration has its label.
import { createHash, randomBytes } from "node:crypto";
import type { Mount } from "../api/generated/mount.ts";
import type { Descriptor } from "../registry/descriptor.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { KeyedQueue } from "./limiter.ts";
import type { Progresses } from "./progress.ts";
import { codeOf, type ImageServices, keepLabels, labelContent, orNone, readContent } from "./services.ts";

/** As large as a configuration may be, in bytes. */
export const MAX_CONFIG: number = 8 * 1024 * 1024;
/** The snapshot that this one is going to be: one that is there is taken, and put on the lease. */
const TARGET_LABEL = "containerd.io/snapshot.ref";

/** Two transfers of one layer: the second finds what the first has made. */
const unpacking = new KeyedQueue();

export interface Unpacking {
  readonly services: ImageServices;
  /** Of the unpacking, to tell namespaces apart. */
  readonly scope: string;
  readonly snapshotter: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  /** Resolves when a layer is there. */
  readonly fetched: (layer: Descriptor) => Promise<unknown>;
  readonly progresses: Progresses;
  readonly signal: AbortSignal;
}

/** Resolves to the snapshot of all of them. Rejects with INVALID_ARGUMENT if a layer is not what the configuration says. */
export async function unpackLayers(wanted: Unpacking): Promise<string> {
  const { services, snapshotter, config, layers } = wanted;
  const diffIds = diffIdsOf(config.digest, await readContent(services, config.digest, MAX_CONFIG));
  if (diffIds.length !== layers.length) {
    throw invalid(
      `configuration ${config.digest}: digests of ${diffIds.length} layers, and there are ${layers.length}`,
    );
  }
  const chains = chainIds(diffIds);
  const top = chains.at(-1);
  if (top === undefined) return "";
  const targets = layers.map((layer, index) => {
    const [chain = "", parent = "", diffId = ""] = [chains[index], chains[index - 1], diffIds[index]];
    return { layer, chain, parent, diffId };
  });
  // The topmost that is there keeps those below it, once it is on the lease. It is not before that: it may go.
  const first = await topmost(wanted, chains);
  try {
    await unpackAll(wanted, targets.slice(first));
  } catch (error) {
    if (first === 0 || codeOf(error) !== Code.NOT_FOUND) throw error;
    await unpackAll(wanted, targets);
  }
  // So the configuration keeps the snapshot, and the image the configuration.
  await keepLabels(services, config.digest, snapshotLabel(snapshotter, top));
  return top;
}

/** By which a configuration keeps the snapshot of its layers. */
export const snapshotLabel = (snapshotter: string, top: string): Record<string, string> => ({
  [`containerd.io/gc.ref.snapshot.${snapshotter}`]: top,
});

/** The names of the snapshots of layers, the first layer first. */
export function chainIds(diffIds: readonly string[]): string[] {
  const chains: string[] = [];
  for (const diffId of diffIds) {
    const below = chains.at(-1);
    chains.push(below === undefined ? diffId : digestOf(`${below} ${diffId}`));
  }
  return chains;
}

/** The index of the highest snapshot that there is now; 0 if there is none. */
async function topmost(
  { services: { snapshots }, snapshotter }: Unpacking,
  chains: readonly string[],
): Promise<number> {
  for (let index = chains.length - 1; index > 0; index--) {
    const key = chains[index] ?? "";
    if ((await orNone(snapshots.stat({ snapshotter, key }))) !== undefined) return index;
  }
  return 0;
}

async function unpackAll(wanted: Unpacking, targets: readonly Target[]): Promise<void> {
  const { scope, snapshotter } = wanted;
  for (const target of targets) {
    await wanted.fetched(target.layer);
    await unpacking.run(`${scope} ${snapshotter} ${target.chain}`, () => unpackLayer(wanted, target));
  }
}

function diffIdsOf(digest: string, bytes: Buffer): string[] {
  let value: { rootfs?: { diff_ids?: unknown } | null } | null;
  try {
    value = JSON.parse(bytes.toString()) as typeof value;
  } catch (error) {
    throw invalid(`configuration ${digest}: no JSON: ${(error as Error).message}`);
  }
  const found = value?.rootfs?.diff_ids ?? [];
  if (!Array.isArray(found) || found.some((each) => typeof each !== "string"))
    throw invalid(`configuration ${digest}: no list of the layers' digests`);
  return found as string[];
}

interface Target {
  readonly layer: Descriptor;
  readonly diffId: string;
  /** Its snapshot's name, and that of the one below; "" for none. */
  readonly chain: string;
  readonly parent: string;
}

/** Resolves when the layer's snapshot is there, and on the lease. */
async function unpackLayer(wanted: Unpacking, target: Target): Promise<void> {
  const { services, snapshotter, progresses, signal } = wanted;
  const { layer, chain, parent } = target;
  for (;;) {
    signal.throwIfAborted();
    const key = `extract-${randomBytes(8).toString("hex")} ${chain}`;
    const mounts = await prepared(
      services.snapshots.prepare({ snapshotter, key, parent, labels: { [TARGET_LABEL]: chain } }),
    );
    if (mounts === undefined) return;
    const job = progresses.step(layer);
    job.say("extracting");
    try {
      await apply(wanted, target, key, mounts);
      job.say("extracted");
      return;
    } catch (error) {
      await services.snapshots.remove({ snapshotter, key }).catch(() => {});
      if (codeOf(error) !== Code.ALREADY_EXISTS) throw error;
      // Somebody else has unpacked the same. It is on that one's lease, and not on ours.
    }
  }
}

async function apply(
  { services, snapshotter }: Unpacking,
  { layer, diffId, chain, parent }: Target,
  key: string,
  mounts: Mount[],
): Promise<void> {
  const { mediaType, digest, size } = layer;
  const descriptor = { mediaType, digest, size: BigInt(size), annotations: {} };
  const { applied } = await services.diff.apply({ diff: descriptor, mounts, payloads: {}, syncFs: false });
  if (applied?.digest !== diffId)
    throw invalid(`layer ${digest} unpacks to ${applied?.digest}, not to ${diffId}`);
  // Together they wait for the disk once. Neither goes on when the other has failed.
  const done = await Promise.allSettled([
    labelContent(services, digest, { "containerd.io/uncompressed": diffId }),
    services.snapshots.commit({ snapshotter, name: chain, key, labels: { [TARGET_LABEL]: chain }, parent }),
  ]);
  for (const each of done) if (each.status === "rejected") throw each.reason;
}

/** undefined if what it was to become is there. */
async function prepared<T>(call: Promise<{ mounts: T }>): Promise<T | undefined> {
  try {
    return (await call).mounts;
  } catch (error) {
    if (codeOf(error) === Code.ALREADY_EXISTS) return undefined;
    throw error;
  }
}

function invalid(text: string): TtrpcError {
  return new TtrpcError(Code.INVALID_ARGUMENT, `${text}: invalid argument`);
}

function digestOf(text: string): string {
  return `sha256:${createHash("sha256").update(text).digest("hex")}`;
}
