// The transfer service: pulls, pushes, imports, exports and tags for clients that leave that to the daemon. What does it is loaded with the first one.
import type { TransferDefinition } from "../../api/generated/transfer.ts";
import type { Handlers } from "../grpc-server.ts";
import type { TransferOptions } from "../transfer-options.ts";

export function transferService(options: TransferOptions): Handlers<TransferDefinition> {
  return {
    async transfer(request, call) {
      const { transfer } = await import("../transfers.ts");
      await transfer(options, request, call);
      return {};
    },
  };
}
