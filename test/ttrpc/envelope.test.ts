import assert from "node:assert/strict";
import { test } from "node:test";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import protobuf from "protobufjs";
import {
  decodeRequest,
  decodeResponse,
  encodeFailure,
  encodePayload,
  encodeRequest,
} from "../../src/ttrpc/envelope.ts";
import { Code, codeName, TtrpcError } from "../../src/ttrpc/status.ts";
import { Message, text } from "./echo.ts";
import { hex } from "./memory.ts";

const oracle = protobuf.parse(
  `
  syntax = "proto3";
  message KeyValue { string key = 1; string value = 2; }
  message Request { string service = 1; string method = 2; bytes payload = 3; int64 timeout_nano = 4; repeated KeyValue metadata = 5; }
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message Response { Status status = 1; bytes payload = 2; }
  message Message { string text = 1; bytes data = 2; }
`,
  { keepCase: true },
).root;

const message = fc.record({ text: fc.string({ unit: "binary" }), data: fc.uint8Array() });
const metadata = fc
  .array(
    fc.tuple(
      fc.string({ unit: fc.constantFrom("a", "b", "-", "0") }),
      fc.array(fc.string(), { minLength: 1 }),
    ),
  )
  .map((pairs) => new Map(pairs));

test("a request of a Go client is read: State with a namespace and a deadline of two seconds", () => {
  const service = "0a 17 636f6e7461696e6572642e7461736b2e76322e5461736b";
  const request = decodeRequest(
    hex(`${service} 12 05 5374617465 1a 05 0a03616263 20 80a8d6b907
      2a 25 0a 1a 636f6e7461696e6572642d6e616d6573706163652d7474727063 12 07 64656661756c74`),
  );
  assert.equal(request.service, "containerd.task.v2.Task");
  assert.equal(request.method, "State");
  assert.deepEqual(request.payload, hex("0a03616263"));
  assert.equal(request.timeoutMs, 2000);
  assert.deepEqual(request.metadata, new Map([["containerd-namespace-ttrpc", ["default"]]]));
});

test("our request is byte for byte what a Go client sends", () => {
  const request = { service: "s.S", method: "M", timeoutMs: 2000, metadata: new Map([["k", ["v", "w"]]]) };
  const written = encodeRequest(request, new BinaryWriter()).finish();
  assert.deepEqual(written, hex("0a 03 732e53 12 01 4d 20 80a8d6b907 2a 06 0a016b120176 2a 06 0a016b120177"));
});

test("a failed response is byte for byte what a Go server sends", () => {
  const error = new TtrpcError(Code.NOT_FOUND, "container not created");
  const written = encodeFailure(error, new BinaryWriter()).finish();
  assert.deepEqual(written, hex("0a 19 08 05 12 15 636f6e7461696e6572206e6f742063726561746564"));
});

test("requests agree with protobufjs in both directions", () => {
  const type = oracle.lookupType("Request");
  const timeout = fc.option(fc.integer({ min: 1, max: 2 ** 31 }), { nil: undefined });
  fc.assert(
    fc.property(
      fc.string(),
      fc.string(),
      message,
      timeout,
      metadata,
      (service, method, body, timeoutMs, pairs) => {
        const writer = encodeRequest({ service, method, timeoutMs, metadata: pairs }, new BinaryWriter());
        const written = encodePayload(3, Message, body, writer).finish();
        const read = type.toObject(type.decode(written), { longs: String, defaults: true, arrays: true });
        assert.equal(read.service, service);
        assert.equal(read.method, method);
        assert.equal(read.timeout_nano, String(BigInt(timeoutMs ?? 0) * 1_000_000n));
        const flat = [...pairs].flatMap(([key, values]) => values.map((value) => ({ key, value })));
        assert.deepEqual(read.metadata, flat);

        const theirs = Uint8Array.from(type.encode(type.fromObject(read)).finish());
        const back = decodeRequest(theirs);
        assert.deepEqual([back.service, back.method, back.timeoutMs], [service, method, timeoutMs]);
        assert.deepEqual(back.metadata, pairs);
        assert.deepEqual(
          Message.decode(back.payload ?? new Uint8Array(0)),
          Message.decode(Message.encode(body).finish()),
        );
      },
    ),
  );
});

test("responses agree with protobufjs in both directions", () => {
  const type = oracle.lookupType("Response");
  const detail = fc.record({ type_url: fc.string(), value: fc.uint8Array({ minLength: 1 }) });
  const anyType = oracle.lookupType("Any");
  fc.assert(
    fc.property(
      fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      fc.string(),
      fc.array(detail),
      (code, why, details) => {
        fc.pre(code !== 0);
        const encoded = details.map((any) => anyType.encode(any).finish());
        const error = new TtrpcError(code, why, { details: encoded });
        const read = type.toObject(type.decode(encodeFailure(error, new BinaryWriter()).finish()), {
          defaults: true,
          arrays: true,
        });
        assert.equal(read.status.code, code);
        assert.equal(read.status.message, why);
        assert.deepEqual(
          read.status.details.map((any: { type_url: string }) => any.type_url),
          details.map((any) => any.type_url),
        );
        const back = decodeResponse(type.encode(type.fromObject(read)).finish());
        assert.equal(back.error?.code, code);
        assert.equal(back.error?.rawMessage, why);
        assert.equal(back.error?.details.length, details.length);
      },
    ),
  );
});

test("an empty response is success without a payload, and a status that says OK is success too", () => {
  assert.deepEqual(decodeResponse(new Uint8Array(0)), { error: undefined, payload: undefined });
  assert.deepEqual(decodeResponse(hex("0a 02 08 00 12 01 05")), { error: undefined, payload: hex("05") });
});

test("a negative timeout is kept as one that has run out, and zero as none", () => {
  assert.equal(decodeRequest(hex("20 ffffffffffffffffff01")).timeoutMs, -1e-6);
  assert.equal(decodeRequest(hex("20 00")).timeoutMs, undefined);
});

test("the longest timeouts stay inside int64", () => {
  for (const timeoutMs of [Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY]) {
    const written = encodeRequest(
      { service: "", method: "", timeoutMs, metadata: new Map() },
      new BinaryWriter(),
    );
    assert.ok((decodeRequest(written.finish()).timeoutMs ?? 0) > 1e12);
  }
});

test("unknown fields, and known ones of a wrong type, are skipped", () => {
  assert.equal(decodeRequest(hex("08 05 0a 01 61 3a 02 ffff 45 01020304")).service, "a");
});

test("metadata keys are compared in lower case, as Go clients do", () => {
  const metadata = decodeRequest(hex("2a 06 0a014b120176 2a 06 0a016b120177")).metadata;
  assert.deepEqual(metadata, new Map([["k", ["v", "w"]]]));
});

test("random and truncated bytes are read or refused with an error, never worse", () => {
  const sample = encodeRequest(
    { service: "s.S", method: "M", timeoutMs: 5, metadata: new Map([["k", ["v"]]]) },
    new BinaryWriter(),
  );
  const whole = encodePayload(3, Message, text("hello"), sample).finish();
  const input = fc.oneof(
    fc.uint8Array({ maxLength: 100 }),
    fc.nat(whole.length).map((end) => whole.slice(0, end)),
    fc.tuple(fc.nat(whole.length - 1), fc.nat(255)).map(([at, byte]) => whole.with(at, byte)),
  );
  fc.assert(
    fc.property(input, (bytes) => {
      for (const decode of [decodeRequest, decodeResponse]) {
        try {
          decode(bytes);
        } catch (error) {
          assert.ok(error instanceof Error);
        }
      }
    }),
    { numRuns: 500 },
  );
});

test("every code has its name", () => {
  for (const [name, code] of Object.entries(Code)) assert.equal(codeName(code), name);
  assert.equal(codeName(99), "CODE_99");
});

test("anything thrown becomes a TtrpcError that keeps its text and its cause", () => {
  const known = new TtrpcError(Code.ABORTED, "x");
  assert.equal(TtrpcError.from(known), known);
  const plain = new Error("disk on fire");
  const wrapped = TtrpcError.from(plain);
  assert.deepEqual([wrapped.code, wrapped.rawMessage, wrapped.cause], [Code.UNKNOWN, "disk on fire", plain]);
  assert.equal(wrapped.message, "UNKNOWN: disk on fire");
  assert.equal(TtrpcError.from("text").rawMessage, "text");
});
