// The diff service: layers into snapshots (containerd's services/diff).
import type { DiffDefinition } from "../../api/generated/diff.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import type { Handlers } from "../grpc-server.ts";
import type { Images } from "../images.ts";
import type { Store } from "../store.ts";

const UNCOMPRESSED_LAYER = "application/vnd.oci.image.layer.v1.tar";

export function diffService(images: Images, store: Store): Handlers<DiffDefinition> {
  return {
    async apply({ diff, mounts }, call) {
      const digest = diff?.digest ?? "";
      const path = images.blobs.path(digest);
      if (store.contents.find(call.namespace, digest) === undefined) {
        throw new TtrpcError(Code.NOT_FOUND, `content ${digest}: not found`);
      }
      const { digest: applied, size } = await images.layers.unpack(path, mounts);
      return {
        applied: { mediaType: UNCOMPRESSED_LAYER, digest: applied, size: BigInt(size), annotations: {} },
      };
    },
  };
}
