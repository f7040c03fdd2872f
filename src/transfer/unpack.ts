// The layers of an image as snapshots, each under the digest of all layers up to it (identity.ChainID of the OCI image specification), as they come in.
import { createHash, randomBytes } from "node:crypto";
import type { Descriptor } from "../registry/descriptor.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { KeyedQueue } from "./limiter.ts";
import type { Job, Progresses } from "./progress.ts";
import { codeOf, type ImageServices, labelContent, readContent } from "./services.ts";

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

/** Resolves when all are unpacked. Rejects with INVALID_ARGUMENT if a layer is not what the configuration says. */
export async function unpackLayers(wanted: Unpacking): Promise<void> {
  const { services, scope, snapshotter, config, layers, fetched, progresses, signal } = wanted;
  const diffIds = diffIdsOf(config.digest, await readContent(services, config.digest, MAX_CONFIG));
  if (diffIds.length !== layers.length) {
    throw invalid(
      `configuration ${config.digest}: digests of ${diffIds.length} layers, and there are ${layers.length}`,
    );
  }
  let parent = "";
  for (const [index, layer] of layers.entries()) {
    await fetched(layer);
    signal.throwIfAborted();
    const diffId = diffIds[index] ?? "";
    const chain = parent === "" ? diffId : digestOf(`${parent} ${diffId}`);
    const target = { snapshotter, parent, chain, diffId, job: progresses.step(layer) };
    await unpacking.run(`${scope} ${snapshotter} ${chain}`, () => unpackLayer(services, layer, target));
    parent = chain;
  }
  // So the configuration keeps the snapshot, and the image the configuration.
  if (parent !== "")
    await labelContent(services, config.digest, { [`containerd.io/gc.ref.snapshot.${snapshotter}`]: parent });
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
  readonly snapshotter: string;
  readonly parent: string;
  readonly chain: string;
  readonly diffId: string;
  readonly job: Job;
}

async function unpackLayer(
  { snapshots, diff, ...services }: ImageServices,
  { mediaType, digest, size }: Descriptor,
  { snapshotter, parent, chain, diffId, job }: Target,
): Promise<void> {
  const key = `extract-${randomBytes(8).toString("hex")} ${chain}`;
  const mounts = await prepared(
    snapshots.prepare({ snapshotter, key, parent, labels: { [TARGET_LABEL]: chain } }),
  );
  if (mounts === undefined) return;
  job.say("extracting");
  try {
    const descriptor = { mediaType, digest, size: BigInt(size), annotations: {} };
    const { applied } = await diff.apply({ diff: descriptor, mounts, payloads: {}, syncFs: false });
    if (applied?.digest !== diffId)
      throw invalid(`layer ${digest} unpacks to ${applied?.digest}, not to ${diffId}`);
    const labels = { [TARGET_LABEL]: chain };
    await Promise.all([
      labelContent({ snapshots, diff, ...services }, digest, { "containerd.io/uncompressed": diffId }),
      snapshots.commit({ snapshotter, name: chain, key, labels, parent }),
    ]);
    job.say("extracted");
  } catch (error) {
    await snapshots.remove({ snapshotter, key }).catch(() => {});
    // Somebody else has unpacked the same.
    if (codeOf(error) !== Code.ALREADY_EXISTS) throw error;
  }
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
