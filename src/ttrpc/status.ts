// Status codes, the one error class of ttrpc calls, and google.rpc.Status on the wire.

import { BinaryReader, type BinaryWriter } from "@bufbuild/protobuf/wire";

/** The codes of google.rpc.Code. */
export const Code = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;
export type Code = (typeof Code)[keyof typeof Code];

/** "NOT_FOUND" for 5, and "CODE_99" for a code that has no name. */
export function codeName(code: number): string {
  return Object.keys(Code)[code] ?? `CODE_${code}`;
}

export interface TtrpcErrorOptions {
  readonly cause?: unknown;
  /** Encoded google.protobuf.Any messages. */
  readonly details?: readonly Uint8Array[];
}

/** A call that failed. `message` is `rawMessage` behind the code's name; `rawMessage` is what goes over the wire. */
export class TtrpcError extends Error {
  override readonly name: string = "TtrpcError";
  /** One of Code, or what a peer sent. Never OK. */
  readonly code: number;
  readonly rawMessage: string;
  readonly details: readonly Uint8Array[];

  constructor(code: number, rawMessage: string, options: TtrpcErrorOptions = {}) {
    super(
      `${codeName(code)}: ${rawMessage}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.code = code;
    this.rawMessage = rawMessage;
    this.details = options.details ?? [];
  }

  /** A TtrpcError as it is; anything else as one with `code`, the text of what was thrown, and it as the cause. */
  static from(thrown: unknown, code: number = Code.UNKNOWN): TtrpcError {
    if (thrown instanceof TtrpcError) return thrown;
    return new TtrpcError(code, thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown });
  }
}

/** Writes the google.rpc.Status of `error`. */
export function encodeStatus(error: TtrpcError, writer: BinaryWriter): BinaryWriter {
  writer.uint32(8).int32(error.code);
  if (error.rawMessage !== "") writer.uint32(18).string(error.rawMessage);
  for (const detail of error.details) writer.uint32(26).bytes(detail);
  return writer;
}

/** Reads a google.rpc.Status: undefined if it says OK. Throws on malformed bytes. */
export function decodeStatus(bytes: Uint8Array): TtrpcError | undefined {
  const reader = new BinaryReader(bytes);
  let code: number = Code.OK;
  let message = "";
  const details: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1 && wireType === 0) code = reader.int32();
    else if (field === 2 && wireType === 2) message = reader.string();
    else if (field === 3 && wireType === 2) details.push(reader.bytes());
    else reader.skip(wireType, field);
  }
  return code === Code.OK ? undefined : new TtrpcError(code, message, { details });
}
