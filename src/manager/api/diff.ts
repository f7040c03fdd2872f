// The diff service: layers into snapshots, and layers of snapshots (containerd's services/diff, diff/walking).
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import type { DiffDefinition, DiffRequest, DiffResponse } from "../../api/generated/diff.ts";
import type { DiffOptions } from "../../images/layer-program.ts";
import { mountDirectories } from "../../images/mount.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { recordContent } from "../images/content-records.ts";
import type { Images } from "../images/images.ts";
import type { Store } from "../records/store.ts";
import type { Call, Handlers } from "../server/grpc-server.ts";
import { validateLabels } from "../server/identifiers.ts";
import { withoutEmpty } from "./labels.ts";
import { ensureNamespace } from "./namespaces.ts";

const UNCOMPRESSED_LAYER = "application/vnd.oci.image.layer.v1.tar";
const GZIP_LAYER = `${UNCOMPRESSED_LAYER}+gzip`;
const COMPRESSIONS: ReadonlyMap<string, DiffOptions["compression"]> = new Map([
  [UNCOMPRESSED_LAYER, "none"],
  [GZIP_LAYER, "gzip"],
  [`${UNCOMPRESSED_LAYER}+zstd`, "zstd"],
]);
/** By which clients know what a packed layer unpacks to. */
const UNCOMPRESSED_LABEL = "containerd.io/uncompressed";

export function diffService(images: Images, store: Store): Handlers<DiffDefinition> {
  return {
    async apply({ diff, mounts }, call) {
      const { digest = "", mediaType = "" } = diff ?? {};
      const path = images.blobs.path(digest);
      if (store.contents.find(call.namespace, digest) === undefined) {
        throw new TtrpcError(Code.NOT_FOUND, `content digest ${digest}: not found`);
      }
      demandLayer(mediaType);
      const { digest: applied, size } = await images.layers.unpack(path, mounts).catch((error: unknown) => {
        demandThere(mounts);
        throw error;
      });
      return {
        applied: { mediaType: UNCOMPRESSED_LAYER, digest: applied, size: BigInt(size), annotations: {} },
      };
    },

    diff: (request, call) => makeLayer(images, store, request, call),
  };
}

/** Of OCI's and Docker's types, those that nobody can read without a key aside. How a layer is packed, its bytes tell. */
const LAYER =
  /^application\/vnd\.(oci\.image\.layer\.(nondistributable\.)?v1\.tar|docker\.image\.rootfs\.(foreign\.)?diff\.tar)([.+](gzip|zstd))?$/;

function demandLayer(mediaType: string): void {
  if (LAYER.test(mediaType)) return;
  const text = `failed to get stream processor for ${mediaType}: no processor for media-type`;
  throw new TtrpcError(Code.UNKNOWN, text);
}

async function makeLayer(
  images: Images,
  store: Store,
  { left, right, ref, labels, mediaType: wanted, sourceDateEpoch }: DiffRequest,
  call: Call,
): Promise<DiffResponse> {
  const { namespace, lease } = call;
  const mediaType = wanted === "" ? GZIP_LAYER : wanted;
  const compression = COMPRESSIONS.get(mediaType);
  if (compression === undefined)
    throw new TtrpcError(Code.UNIMPLEMENTED, `unsupported diff media type: ${mediaType}: not implemented`);
  validateLabels("info.Labels", labels);
  await ensureNamespace(store, namespace);
  const writer = await images.ingests.open({
    namespace,
    ref: ref === "" ? `diff-${randomBytes(16).toString("hex")}` : ref,
    total: 0,
    expected: "",
  });
  try {
    // What an earlier call has left under that name is no beginning of this layer.
    if (writer.offset > 0) await writer.restart();
    const latest = sourceDateEpoch === undefined ? undefined : Number(sourceDateEpoch.seconds);
    const made = await images.layers.diff(left, right, { compression, latest }, (bytes) =>
      writer.write(bytes),
    );
    demandThere([...left, ...right]);
    const size = writer.offset;
    const release = await images.share();
    try {
      const { digest } = await writer.commit(0, "");
      const all = compression === "none" ? labels : { ...labels, [UNCOMPRESSED_LABEL]: made.digest };
      await recordContent({ images, store }, { namespace, lease }, digest, {
        size,
        labels: withoutEmpty(all),
      });
      return { diff: { mediaType, digest, size: BigInt(size), annotations: {} } };
    } finally {
      release();
    }
  } catch (error) {
    await writer.discard();
    demandThere([...left, ...right]);
    throw error;
  }
}

/** Throws NOT_FOUND if a snapshot's directory has gone: what has been read of it then is not what was there. No directory gets the name of another. */
function demandThere(mounts: DiffRequest["left"]): void {
  for (const directory of mounts.flatMap(mountDirectories)) {
    if (!existsSync(directory))
      throw new TtrpcError(Code.NOT_FOUND, `${directory}: it has been removed: not found`);
  }
}
