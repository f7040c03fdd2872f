// How a message is written and read, and the metadata that goes with it: what all of the protocol's parts share.

import type { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";

/** ts-proto's MessageFns. Bytes fields of a decoded message are views of `input`: copy what is kept. */
export interface MessageCodec<T> {
  encode(message: T, writer?: BinaryWriter): BinaryWriter;
  decode(input: BinaryReader | Uint8Array, length?: number): T;
}

/** Values by key. Received keys are in lower case. */
export type Metadata = ReadonlyMap<string, readonly string[]>;
