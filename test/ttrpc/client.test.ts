// The client against a server that is played frame by frame.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { Cancellation } from "../../src/ttrpc/cancel.ts";
import { TtrpcClient } from "../../src/ttrpc/client.ts";
import { decodeRequest, encodeFailure, encodePayload } from "../../src/ttrpc/envelope.ts";
import { type Frame, FrameType, MAX_DATA_BYTES } from "../../src/ttrpc/frame.ts";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";
import { createClient } from "../../src/ttrpc/typed-client.ts";
import { bytes, EchoDefinition, Message, text } from "./echo.ts";
import { hex, ManualClock, MemoryStream, rawFrame } from "./memory.ts";

function bench() {
  const stream = new MemoryStream();
  const clock = new ManualClock();
  const client = new TtrpcClient(stream, clock);
  return { stream, clock, client, echo: createClient(EchoDefinition, client) };
}

function ok(streamId: number, body: string): Uint8Array {
  return rawFrame(
    streamId,
    FrameType.RESPONSE,
    0,
    encodePayload(2, Message, text(body), new BinaryWriter()).finish(),
  );
}

function requestOf(frame: Frame) {
  return decodeRequest(frame.data ?? new Uint8Array(0));
}

function failsWith(code: number) {
  return (error: unknown) => error instanceof TtrpcError && error.code === code;
}

test("a call is one request frame on a rising odd stream, with deadline and metadata", async () => {
  const { stream, echo } = bench();
  const metadata = new Map([["containerd-namespace-ttrpc", ["k8s.io"]]]);
  const first = echo.unary(text("a"), { timeoutMs: 1500, metadata });
  const second = echo.unary(text("b"));
  const [one, two] = [await stream.frame(), await stream.frame()];
  assert.deepEqual([one.streamId, one.type, one.flags, two.streamId], [1, FrameType.REQUEST, 0, 3]);
  const request = requestOf(one);
  assert.deepEqual([request.service, request.method, request.timeoutMs], ["test.v1.Echo", "Unary", 1500]);
  assert.deepEqual(request.metadata, metadata);
  assert.equal(requestOf(two).timeoutMs, undefined);
  stream.receive(Buffer.concat([ok(3, "B"), ok(1, "A")]));
  assert.deepEqual([(await first).text, (await second).text], ["A", "B"]);
});

test("a typed client can call a service by another name", async () => {
  const { stream, client } = bench();
  void createClient(EchoDefinition, client, "test.v2.Echo").unary(text("a"));
  assert.equal(requestOf(await stream.frame()).service, "test.v2.Echo");
});

test("an empty response frame is an empty message, as Go servers send it", async () => {
  const { stream, echo } = bench();
  const call = echo.unary(text("a"));
  stream.receive(hex("00000000 00000001 02 00"));
  assert.deepEqual(await call, text(""));
});

test("a failed call rejects with the server's code, text and details", async () => {
  const { stream, echo } = bench();
  const call = echo.unary(text("a"));
  const error = new TtrpcError(Code.NOT_FOUND, "container not created", { details: [hex("0a0161")] });
  stream.receive(rawFrame(1, FrameType.RESPONSE, 0, encodeFailure(error, new BinaryWriter()).finish()));
  await assert.rejects(call, (thrown) => {
    assert.ok(thrown instanceof TtrpcError);
    assert.deepEqual(
      [thrown.code, thrown.rawMessage, thrown.details],
      [5, "container not created", [hex("0a0161")]],
    );
    return true;
  });
});

test("a call that takes too long fails with DEADLINE_EXCEEDED, and its late answer is ignored", async () => {
  const { stream, echo, clock } = bench();
  const call = echo.unary(text("a"), { timeoutMs: 20 });
  clock.advance(20);
  await assert.rejects(call, failsWith(Code.DEADLINE_EXCEEDED));
  stream.receive(ok(1, "late"));
  const next = echo.unary(text("b"), { timeoutMs: 20 });
  stream.receive(ok(3, "in time"));
  assert.equal((await next).text, "in time");
  assert.equal(clock.armed, 0);
});

test("a call without time, or cancelled before, sends nothing", async () => {
  const { stream, echo } = bench();
  await assert.rejects(echo.unary(text("a"), { timeoutMs: 0 }), failsWith(Code.DEADLINE_EXCEEDED));
  const signal = new Cancellation();
  signal.cancel();
  await assert.rejects(echo.unary(text("a"), { signal }), failsWith(Code.CANCELLED));
  assert.equal(stream.pending, 0);
});

test("a cancelled call fails with CANCELLED", async () => {
  const { echo } = bench();
  const signal = new Cancellation();
  const call = echo.unary(text("a"), { signal });
  signal.cancel();
  await assert.rejects(call, failsWith(Code.CANCELLED));
});

test("a call that is over leaves nothing with its signal, however it ended", async () => {
  const { stream, clock, echo } = bench();
  let listeners = 0;
  const signal = {
    cancelled: false,
    onCancel: () => {
      listeners++;
      return () => void listeners--;
    },
  };
  const [answered, late, broken] = [
    echo.unary(text("a"), { signal }),
    echo.unary(text("b"), { signal, timeoutMs: 10 }),
    echo.unary(text("c"), { signal }),
  ];
  assert.equal(listeners, 3);
  stream.receive(ok(1, "A"));
  await answered;
  assert.equal(listeners, 2);
  clock.advance(10);
  await assert.rejects(late, failsWith(Code.DEADLINE_EXCEEDED));
  assert.equal(listeners, 1);
  stream.end();
  await assert.rejects(broken, failsWith(Code.UNAVAILABLE));
  assert.equal(listeners, 0);
});

test("when the connection ends, calls under way and later ones fail with UNAVAILABLE, and the owner is told once", async () => {
  const stream = new MemoryStream();
  const ends: unknown[] = [];
  const client = new TtrpcClient(stream, new ManualClock(), (error) => ends.push(error?.message));
  const echo = createClient(EchoDefinition, client);
  const calls = [echo.unary(text("a")), echo.unary(text("b"))];
  stream.end(new Error("read ECONNRESET"));
  for (const call of calls) {
    await assert.rejects(call, (error) => {
      assert.ok(error instanceof TtrpcError);
      assert.equal(error.code, Code.UNAVAILABLE);
      assert.match(error.rawMessage, /closed: read ECONNRESET/);
      return true;
    });
  }
  await assert.rejects(echo.unary(text("c")), failsWith(Code.UNAVAILABLE));
  client.close();
  assert.deepEqual(ends, ["read ECONNRESET"]);
  assert.equal(client.closed, true);
});

test("a request over the limit fails here, and the connection is as it was", async () => {
  const { stream, echo } = bench();
  await assert.rejects(echo.unary(bytes(MAX_DATA_BYTES)), failsWith(Code.RESOURCE_EXHAUSTED));
  const call = echo.unary(text("a"));
  stream.receive(ok((await stream.frame()).streamId, "A"));
  assert.equal((await call).text, "A");
});

test("an oversized or malformed answer fails its call only", async () => {
  const { stream, echo } = bench();
  const [oversized, garbage, payload, data] = [1, 2, 3, 4].map(() => echo.unary(text("a")));
  const good = echo.unary(text("a"));
  stream.receive(rawFrame(1, 2, 0, new Uint8Array(MAX_DATA_BYTES + 1)));
  stream.receive(rawFrame(3, 2, 0, hex("0aff")));
  stream.receive(rawFrame(5, 2, 0, hex("1202 0aff")));
  stream.receive(rawFrame(7, 3, 0, hex("00")));
  stream.receive(rawFrame(99, 2, 0, hex("00")));
  stream.receive(rawFrame(9, 7, 0, hex("00")));
  stream.receive(ok(9, "fine"));
  await assert.rejects(oversized ?? good, failsWith(Code.RESOURCE_EXHAUSTED));
  for (const call of [garbage, payload, data]) await assert.rejects(call ?? good, failsWith(Code.INTERNAL));
  assert.equal((await good).text, "fine");
});

test("a stream of requests opens without a payload and closes with a bare frame", async () => {
  const { stream, echo } = bench();
  async function* messages() {
    yield text("x");
  }
  const call = echo.up(messages());
  const frames = [await stream.frame(), await stream.frame(), await stream.frame()];
  assert.deepEqual(
    frames.map((frame) => [frame.streamId, frame.type, frame.flags]),
    [
      [1, FrameType.REQUEST, 2],
      [1, FrameType.DATA, 0],
      [1, FrameType.DATA, 5],
    ],
  );
  assert.equal(requestOf(frames[0] as Frame).payload, undefined);
  assert.deepEqual(frames[1]?.data, hex("0a0178"));
  stream.receive(ok(1, "done"));
  assert.equal((await call).text, "done");
});

test("a stream of answers ends with a bare frame, with data on the last frame, or with a response", async () => {
  for (const [last, texts] of [
    [rawFrame(1, 3, 5, new Uint8Array(0)), ["a"]],
    [rawFrame(1, 3, 1, hex("0a0162")), ["a", "b"]],
    [ok(1, "c"), ["a", "c"]],
    [rawFrame(1, 2, 0, new Uint8Array(0)), ["a"]],
  ] as const) {
    const { stream, echo } = bench();
    const answers = echo.down(text("go"));
    assert.equal((await stream.frame()).flags, 1);
    stream.receive(Buffer.concat([rawFrame(1, 3, 0, hex("0a0161")), last]));
    const got: string[] = [];
    for await (const message of answers) got.push(message.text);
    assert.deepEqual(got, texts);
  }
});

test("a stream that breaks gives what came before, then the error", async () => {
  const { stream, echo } = bench();
  const answers = echo.down(text("go"));
  stream.receive(rawFrame(1, 3, 0, hex("0a0161")));
  stream.end();
  assert.equal((await answers.next()).value?.text, "a");
  await assert.rejects(answers.next(), failsWith(Code.UNAVAILABLE));
  assert.equal((await answers.next()).done, true);
});

test("a failing source fails the call and does not look like the end of the stream to the server", async () => {
  const { stream, echo } = bench();
  async function* broken() {
    yield text("x");
    throw new Error("source is gone");
  }
  await assert.rejects(echo.up(broken()), /source is gone/);
  assert.deepEqual([(await stream.frame()).flags, (await stream.frame()).flags], [2, 0]);
  assert.equal(stream.pending, 0);
});

test("answers that nobody reads hold up the connection for a bounded time, then fail their stream", async () => {
  const { stream, echo, clock } = bench();
  const answers = echo.down(text("go"));
  const big = rawFrame(1, 3, 0, Message.encode(bytes(512 * 1024)).finish());
  for (let count = 0; count < 3; count++) stream.receive(big);
  assert.equal(stream.paused, true);
  const call = echo.unary(text("behind"));
  clock.advance(1000);
  assert.equal(stream.paused, false);
  await assert.rejects(answers.next(), failsWith(Code.RESOURCE_EXHAUSTED));
  stream.receive(Buffer.concat([big, ok(3, "served")]));
  assert.equal((await call).text, "served");
});

test("leaving a stream of answers early lets go of it", async () => {
  const { stream, echo, clock } = bench();
  const answers = echo.down(text("go"), { timeoutMs: 1000 });
  stream.receive(rawFrame(1, 3, 0, hex("0a0161")));
  for await (const message of answers) {
    assert.equal(message.text, "a");
    break;
  }
  assert.equal(clock.armed, 0);
  stream.receive(rawFrame(1, 3, 0, hex("0a0161")));
  assert.equal((await answers.next()).done, true);
});
