// The two messages that ttrpc itself defines, Request and Response. They are written straight into a frame. Called by server-call.ts and client.ts.

import { BinaryReader, type BinaryWriter } from "@bufbuild/protobuf/wire";
import { boundedReader } from "./bounded-reader.ts";
import type { MessageCodec, Metadata } from "./codec.ts";
import { decodeStatus, encodeStatus, type TtrpcError } from "./status.ts";

const NO_METADATA: Metadata = new Map();
const NS_PER_MS = 1e6;
/** Longest time that is sent: a hundred years, well inside int64 nanoseconds. */
const MAX_TIMEOUT_MS = 3.2e12;

export interface Request {
  readonly service: string;
  readonly method: string;
  /** Undefined if the field is absent, as on a stream whose messages follow. */
  readonly payload: Uint8Array | undefined;
  /** Milliseconds with a fraction; undefined for none; zero or less if it had run out when it was sent. */
  readonly timeoutMs: number | undefined;
  readonly metadata: Metadata;
}

export interface Response {
  readonly error: TtrpcError | undefined;
  readonly payload: Uint8Array | undefined;
}

/** Writes a Request up to its payload; `timeoutMs` must not be 0, which on the wire means none. */
export function encodeRequest(
  request: Pick<Request, "service" | "method" | "timeoutMs" | "metadata">,
  writer: BinaryWriter,
): BinaryWriter {
  writer.uint32(10).string(request.service).uint32(18).string(request.method);
  if (request.timeoutMs !== undefined) {
    writer.uint32(32).int64(Math.ceil(Math.min(request.timeoutMs, MAX_TIMEOUT_MS) * NS_PER_MS));
  }
  for (const [key, values] of request.metadata) {
    for (const value of values) {
      writer.uint32(42).fork().uint32(10).string(key).uint32(18).string(value).join();
    }
  }
  return writer;
}

/** Writes `message` as the payload, whose field number is 3 in a Request and 2 in a Response. */
export function encodePayload<T>(
  field: 2 | 3,
  codec: MessageCodec<T>,
  message: T,
  writer: BinaryWriter,
): BinaryWriter {
  codec.encode(message, writer.tag(field, 2).fork());
  return writer.join();
}

/** Writes a Response that has failed. */
export function encodeFailure(error: TtrpcError, writer: BinaryWriter): BinaryWriter {
  return encodeStatus(error, writer.uint32(10).fork()).join();
}

/** Throws on malformed bytes. The payload is a view of `bytes`. */
export function decodeRequest(bytes: Uint8Array): Request {
  const reader = boundedReader(bytes);
  let service = "";
  let method = "";
  let payload: Uint8Array | undefined;
  let timeoutMs: number | undefined;
  let metadata: Map<string, string[]> | undefined;
  while (reader.pos < reader.len) {
    const tag = reader.tag();
    // Taken apart by hand: in the shim's engine an array's iterator costs more than all that it is for.
    const field = tag[0];
    const wireType = tag[1];
    if (field === 1 && wireType === 2) service = reader.string();
    else if (field === 2 && wireType === 2) method = reader.string();
    else if (field === 3 && wireType === 2) payload = reader.bytes();
    else if (field === 4 && wireType === 0) timeoutMs = Number(reader.int64()) / NS_PER_MS || undefined;
    else if (field === 5 && wireType === 2) {
      metadata ??= new Map();
      addPair(reader.bytes(), metadata);
    } else reader.skip(wireType, field);
  }
  return { service, method, payload, timeoutMs, metadata: metadata ?? NO_METADATA };
}

/** Throws on malformed bytes. The payload is a view of `bytes`. */
export function decodeResponse(bytes: Uint8Array): Response {
  const reader = new BinaryReader(bytes);
  let error: TtrpcError | undefined;
  let payload: Uint8Array | undefined;
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1 && wireType === 2) error = decodeStatus(reader.bytes());
    else if (field === 2 && wireType === 2) payload = reader.bytes();
    else reader.skip(wireType, field);
  }
  return { error, payload };
}

function addPair(bytes: Uint8Array, metadata: Map<string, string[]>): void {
  const reader = new BinaryReader(bytes);
  let key = "";
  let value = "";
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1 && wireType === 2) key = reader.string();
    else if (field === 2 && wireType === 2) value = reader.string();
    else reader.skip(wireType, field);
  }
  key = key.toLowerCase();
  const values = metadata.get(key);
  if (values) values.push(value);
  else metadata.set(key, [value]);
}
