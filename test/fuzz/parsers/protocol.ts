// What comes over a socket: ttrpc's frames, its two messages, and the messages of every service that we serve or call.
import assert from "node:assert/strict";
import type { BinaryReader } from "@bufbuild/protobuf/wire";
import * as bootstrap from "../../../src/api/generated/bootstrap.ts";
import * as metricsV1 from "../../../src/api/generated/cgroups_v1.ts";
import * as metricsV2 from "../../../src/api/generated/cgroups_v2.ts";
import * as events from "../../../src/api/generated/events.ts";
import * as any from "../../../src/api/generated/google/protobuf/any.ts";
import * as runcOptions from "../../../src/api/generated/runc_options.ts";
import * as runtimeOptions from "../../../src/api/generated/runtime_options.ts";
import * as task from "../../../src/api/generated/task.ts";
import * as taskEvents from "../../../src/api/generated/task_events.ts";
import * as transferTypes from "../../../src/api/generated/transfer_types.ts";
import { boundedReader } from "../../../src/ttrpc/bounded-reader.ts";
import {
  decodeRequest,
  decodeResponse,
  encodePayload,
  encodeRequest,
  type Request,
} from "../../../src/ttrpc/envelope.ts";
import {
  type Frame,
  FrameDecoder,
  FrameType,
  frameAt,
  MAX_DATA_BYTES,
  newFrame,
  sealFrame,
} from "../../../src/ttrpc/frame.ts";
import { isMalformed, orRefusal, type ParserTarget, utf8 } from "./target.ts";

interface Message {
  encode(message: unknown): { finish(): Uint8Array };
  decode(input: BinaryReader | Uint8Array): unknown;
}

function messagesOf(...modules: readonly object[]): Message[] {
  return modules
    .flatMap((module) => Object.values(module) as unknown[])
    .filter(
      (value): value is Message =>
        typeof value === "object" && value !== null && "encode" in value && "decode" in value,
    );
}

const MESSAGES = messagesOf(
  task,
  events,
  taskEvents,
  bootstrap,
  any,
  runcOptions,
  runtimeOptions,
  metricsV1,
  metricsV2,
  transferTypes,
);

const WAIT: Request = {
  service: "containerd.task.v2.Task",
  method: "Wait",
  payload: undefined,
  timeoutMs: 1500,
  metadata: new Map([["k", ["v", "w"]]]),
};

function waitFrame(streamId: number): Uint8Array {
  const writer = encodePayload(
    3,
    task.WaitRequest,
    { id: "a", execId: "b" },
    encodeRequest(WAIT, newFrame()),
  );
  return sealFrame(writer, streamId, FrameType.REQUEST, 0);
}

function framesOf(pieces: readonly Uint8Array[]): Frame[] {
  const decoder = new FrameDecoder();
  const frames: Frame[] = [];
  for (const piece of pieces) {
    decoder.push(piece);
    for (let frame = decoder.next(); frame !== undefined; frame = decoder.next())
      frames.push({ ...frame, data: frame.data && Uint8Array.from(frame.data) });
  }
  return frames;
}

/** By lengths that the bytes themselves give. */
function cut(bytes: Uint8Array): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + ((bytes[at] ?? 0) % 29);
    pieces.push(bytes.slice(at, at + length));
    at += length;
  }
  return pieces;
}

const frames: ParserTarget = {
  name: "frames",
  what: "ttrpc frames: the same ones however the bytes come in, and no longer than they may be",
  seeds: () => [
    waitFrame(1),
    Buffer.concat([waitFrame(1), waitFrame(3), Uint8Array.of(0, 0, 0, 3, 0, 0, 0, 5, 3, 1, 1, 2, 3)]),
    Uint8Array.of(0, 0x40, 0, 1, 0, 0, 0, 1, 1, 0, 1, 2, 3),
    Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 1, 0),
  ],
  run(input) {
    const whole = framesOf([input]);
    assert.deepEqual(framesOf(cut(input)), whole);
    for (const { data, length } of whole) {
      assert.equal(data === undefined, length > MAX_DATA_BYTES);
      if (data !== undefined) assert.equal(data.length, length);
    }
    const first = frameAt(input, 0)?.frame;
    if (first?.data !== undefined && first.length <= MAX_DATA_BYTES)
      assert.deepEqual({ ...first, data: Uint8Array.from(first.data) }, whole[0]);
  },
};

const envelopes: ParserTarget = {
  name: "envelopes",
  what: "ttrpc's Request and Response: what is read and written again is read as the same",
  words: [
    "containerd.task.v2.Task",
    "\x2a\x06\x0a\x01k\x12\x01v",
    "\x0a\x02\x08\x05",
    "\x20\x80\x94\xeb\xdc\x03",
  ],
  seeds: () => [waitFrame(1).subarray(10), utf8("\x0a\x08\x08\x05\x12\x04text"), utf8("\x12\x03abc")],
  run(input) {
    orRefusal(() => decodeResponse(input), isMalformed);
    const request = orRefusal(() => decodeRequest(input), isMalformed);
    if (request === undefined || request.timeoutMs === 0) return;
    const again = decodeRequest(encodeRequest(request, newFrame()).finish().subarray(10));
    assert.deepEqual([...again.metadata], [...request.metadata]);
    assert.deepEqual([again.service, again.method], [request.service, request.method]);
  },
};

const messages: ParserTarget = {
  name: "messages",
  what: "every message of the services: what is read and written again is read as the same. The first byte says which",
  seeds: () => [
    ...MESSAGES.map((_, index) => Uint8Array.of(index)),
    ...MESSAGES.map((_, index) =>
      Buffer.concat([Uint8Array.of(index), utf8("\x0a\x02id\x12\x01b\x18\x01\x20\x01")]),
    ),
  ],
  run(input) {
    const message = MESSAGES[(input[0] ?? 0) % MESSAGES.length];
    if (message === undefined) return;
    const read = orRefusal(() => message.decode(boundedReader(input.subarray(1))), isMalformed);
    if (read === undefined) return;
    const written = message.encode(read).finish();
    assert.deepEqual(message.encode(message.decode(written)).finish(), written);
  },
};

export const protocolTargets: readonly ParserTarget[] = [frames, envelopes, messages];
