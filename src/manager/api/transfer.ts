// The transfer service: pulls, pushes, imports, exports and tags for clients that leave that to the daemon. What does it is loaded with the first one.
import type { TransferDefinition } from "../../api/generated/transfer.ts";
import type { TransferOptions } from "../images/transfer-options.ts";
import type { Handlers } from "../server/grpc-server.ts";

export function transferService(options: TransferOptions): Handlers<TransferDefinition> {
  return {
    async transfer(request, call) {
      const { transfer } = await import("../images/transfers.ts");
      await transfer(options, request, call);
      return {};
    },
  };
}
