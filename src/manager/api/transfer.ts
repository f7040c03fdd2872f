// The transfer service: pulls, pushes, imports, exports and tags for clients that leave that to the daemon. What does it is loaded with the first one.
import type { TransferDefinition } from "../../api/generated/transfer.ts";
import type { Handlers } from "../grpc-server.ts";
import type { ServiceHandlers } from "../local-services.ts";
import type { Streams } from "../streams.ts";

export interface TransferOptions {
  readonly services: ServiceHandlers;
  readonly streams: Streams;
  /** Directories as certs.d, for clients that name none. */
  readonly hostsDirectories: readonly string[];
  /** How long a registry may send nothing, in ms. */
  readonly idleMs: number;
}

export function transferService(options: TransferOptions): Handlers<TransferDefinition> {
  return {
    async transfer(request, call) {
      const { transfer } = await import("../transfers.ts");
      await transfer(options, request, call);
      return {};
    },
  };
}
