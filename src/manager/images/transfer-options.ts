// What transfers are made with. api/transfer.ts has it from daemon.ts, and transfers.ts from there.
import type { ServiceHandlers } from "../server/local-services.ts";
import type { Streams } from "../server/streams.ts";

export interface TransferOptions {
  readonly services: ServiceHandlers;
  readonly streams: Streams;
  /** Directories as certs.d, for clients that name none. */
  readonly hostsDirectories: readonly string[];
  /** Where layers are unpacked for clients that do not say. */
  readonly snapshotter: () => Promise<string>;
  /** The bytes of an archive that may be packed as a whole. */
  readonly expanded: (archive: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;
  /** How long a registry may send nothing, in ms. */
  readonly idleMs: number;
}
