// The server against a peer that is played frame by frame, so that what it does with a broken or hostile one is seen exactly.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import type { CallContext } from "../../src/ttrpc/definition.ts";
import { decodeResponse, encodePayload, encodeRequest } from "../../src/ttrpc/envelope.ts";
import { FrameType, MAX_DATA_BYTES } from "../../src/ttrpc/frame.ts";
import { type ServerOptions, TtrpcServer } from "../../src/ttrpc/server.ts";
import { serverStreaming } from "../../src/ttrpc/server-stream.ts";
import { Code, codeName, TtrpcError } from "../../src/ttrpc/status.ts";
import { bytes, EchoDefinition, Message, text } from "./echo.ts";
import { hex, ManualClock, MemoryStream, rawFrame, settle } from "./memory.ts";

interface Bench {
  readonly stream: MemoryStream;
  readonly clock: ManualClock;
  readonly server: TtrpcServer;
  /** Contexts of the calls that "hang" was asked of; they end only by cancellation. */
  readonly hanging: CallContext[];
}

function bench(options: ServerOptions = {}): Bench {
  const clock = new ManualClock();
  const server = new TtrpcServer(clock, options);
  const hanging: CallContext[] = [];
  server.register(
    EchoDefinition,
    {
      unary(request, context) {
        if (request.text === "hang") {
          hanging.push(context);
          return new Promise((_, reject) => context.onCancel(() => reject(new Error("cancelled"))));
        }
        if (request.text === "big") return bytes(MAX_DATA_BYTES);
        if (request.text === "throw") throw new Error("disk on fire");
        if (request.text === "refuse") throw new TtrpcError(Code.FAILED_PRECONDITION, "not now");
        if (request.text === "novel") throw new TtrpcError(Code.ABORTED, "x".repeat(MAX_DATA_BYTES));
        if (request.text === "nothing") return undefined as unknown as Message;
        return request;
      },
    },
    ["test.v2.Echo"],
  );
  const stream = new MemoryStream();
  server.accept(stream);
  return { stream, clock, server, hanging };
}

interface RequestParts {
  service?: string;
  method?: string;
  timeoutMs?: number;
  metadata?: ReadonlyMap<string, readonly string[]>;
}

function request(streamId: number, body: string, parts: RequestParts = {}): Uint8Array {
  const { service = "test.v1.Echo", method = "Unary", timeoutMs, metadata = new Map() } = parts;
  const writer = encodeRequest({ service, method, timeoutMs, metadata }, new BinaryWriter());
  return rawFrame(streamId, FrameType.REQUEST, 0, encodePayload(3, Message, text(body), writer).finish());
}

/** The next answer as [stream, code's name or "OK", message or text]. */
async function answer(stream: MemoryStream): Promise<[number, string, string]> {
  const frame = await stream.frame();
  assert.equal(frame.type, FrameType.RESPONSE);
  const { error, payload } = decodeResponse(frame.data ?? new Uint8Array(0));
  if (error) return [frame.streamId, codeName(error.code), error.rawMessage];
  return [frame.streamId, "OK", Message.decode(payload ?? new Uint8Array(0)).text];
}

test("a unary call is answered on its stream, under every name of the service", async () => {
  const { stream } = bench();
  stream.receive(request(1, "a"));
  stream.receive(request(3, "b", { service: "test.v2.Echo" }));
  assert.deepEqual(await answer(stream), [1, "OK", "a"]);
  assert.deepEqual(await answer(stream), [3, "OK", "b"]);
});

test("the answer is byte for byte what a Go server would send", async () => {
  const { stream } = bench();
  const written: Uint8Array[] = [];
  const write = stream.write.bind(stream);
  stream.write = (frame) => {
    written.push(frame);
    write(frame);
  };
  // Request { service: "test.v1.Echo", method: "Unary", payload: { text: "hi" } } on stream 5, with the flag that Go's clients set.
  stream.receive(hex("0000001b 00000005 01 01 0a0c 746573742e76312e4563686f 1205 556e617279 1a04 0a026869"));
  await settle();
  assert.deepEqual(written, [hex("00000006 00000005 02 00 1204 0a026869")]);
});

test("an unknown service and an unknown method are UNIMPLEMENTED and named", async () => {
  const { stream } = bench();
  stream.receive(request(1, "a", { service: "no.Such" }));
  stream.receive(request(3, "a", { method: "Fly" }));
  // In the definition, but left out of the implementation.
  stream.receive(request(5, "a", { method: "Both" }));
  assert.deepEqual(await answer(stream), [1, "UNIMPLEMENTED", "unknown service no.Such"]);
  assert.deepEqual(await answer(stream), [3, "UNIMPLEMENTED", "unknown method test.v1.Echo/Fly"]);
  assert.deepEqual(await answer(stream), [5, "UNIMPLEMENTED", "unknown method test.v1.Echo/Both"]);
});

test("what a handler throws comes back: a TtrpcError with its code, anything else as UNKNOWN with its text", async () => {
  const { stream } = bench();
  stream.receive(request(1, "refuse"));
  stream.receive(request(3, "throw"));
  assert.deepEqual(await answer(stream), [1, "FAILED_PRECONDITION", "not now"]);
  assert.deepEqual(await answer(stream), [3, "UNKNOWN", "disk on fire"]);
});

test("a handler without a response is an INTERNAL error, not a crash", async () => {
  const { stream } = bench();
  stream.receive(request(1, "nothing"));
  assert.equal((await answer(stream))[1], "INTERNAL");
});

test("a malformed payload is INTERNAL, a malformed request INVALID_ARGUMENT, and the connection goes on", async () => {
  const { stream } = bench();
  const writer = encodeRequest(
    { service: "test.v1.Echo", method: "Unary", timeoutMs: undefined, metadata: new Map() },
    new BinaryWriter(),
  );
  stream.receive(rawFrame(1, 1, 0, writer.uint32(26).bytes(hex("0aff")).finish()));
  assert.deepEqual((await answer(stream)).slice(0, 2), [1, "INTERNAL"]);
  stream.receive(rawFrame(3, 1, 0, hex("0aff")));
  assert.deepEqual((await answer(stream)).slice(0, 2), [3, "INVALID_ARGUMENT"]);
  stream.receive(request(5, "still here"));
  assert.deepEqual(await answer(stream), [5, "OK", "still here"]);
});

test("an empty request frame names no service", async () => {
  const { stream } = bench();
  stream.receive(hex("00000000 00000001 01 00"));
  assert.deepEqual((await answer(stream)).slice(0, 2), [1, "UNIMPLEMENTED"]);
});

test("an oversized request is RESOURCE_EXHAUSTED on its stream, and the next one is served", async () => {
  const { stream } = bench();
  stream.receive(rawFrame(1, 1, 0, new Uint8Array(MAX_DATA_BYTES + 1)));
  stream.receive(request(3, "next"));
  assert.deepEqual((await answer(stream)).slice(0, 2), [1, "RESOURCE_EXHAUSTED"]);
  assert.deepEqual(await answer(stream), [3, "OK", "next"]);
});

test("an answer over the limit, error text included, becomes RESOURCE_EXHAUSTED", async () => {
  const { stream } = bench();
  stream.receive(request(1, "big"));
  assert.deepEqual((await answer(stream)).slice(0, 2), [1, "RESOURCE_EXHAUSTED"]);
  stream.receive(request(3, "novel"));
  assert.deepEqual((await answer(stream)).slice(0, 2), [3, "RESOURCE_EXHAUSTED"]);
});

test("even, repeated and falling stream ids are INVALID_ARGUMENT", async () => {
  const { stream } = bench();
  stream.receive(request(2, "even"));
  assert.deepEqual((await answer(stream)).slice(0, 2), [2, "INVALID_ARGUMENT"]);
  stream.receive(request(5, "a"));
  assert.deepEqual(await answer(stream), [5, "OK", "a"]);
  for (const id of [5, 3]) {
    stream.receive(request(id, "again"));
    assert.deepEqual((await answer(stream)).slice(0, 2), [id, "INVALID_ARGUMENT"]);
  }
});

test("a stream id that repeats while its call runs ends that call: a stream has one answer", async () => {
  const { stream, hanging } = bench();
  stream.receive(request(1, "hang"));
  stream.receive(request(1, "again"));
  assert.deepEqual((await answer(stream)).slice(0, 2), [1, "INVALID_ARGUMENT"]);
  assert.equal(hanging[0]?.cancelled, true);
  await settle();
  assert.equal(stream.pending, 0);
});

test("frames of an unknown type, and responses, are ignored", async () => {
  const { stream } = bench();
  for (const type of [0, 2, 4, 255]) stream.receive(rawFrame(1, type, 0, hex("00")));
  stream.receive(request(3, "a"));
  assert.deepEqual(await answer(stream), [3, "OK", "a"]);
  assert.equal(stream.pending, 0);
});

test("data for a stream that is not open, or is unary, is INVALID_ARGUMENT; a bare close of a unary stream is nothing", async () => {
  const { stream, hanging } = bench();
  stream.receive(rawFrame(7, FrameType.DATA, 0, hex("00")));
  assert.deepEqual((await answer(stream)).slice(0, 2), [7, "INVALID_ARGUMENT"]);
  stream.receive(request(9, "hang"));
  stream.receive(rawFrame(9, FrameType.DATA, 5, new Uint8Array(0)));
  assert.equal(hanging[0]?.cancelled, false);
  stream.receive(rawFrame(9, FrameType.DATA, 0, hex("00")));
  assert.deepEqual((await answer(stream)).slice(0, 2), [9, "INVALID_ARGUMENT"]);
  assert.equal(hanging[0]?.cancelled, true);
});

test("data after a stream's end is INVALID_ARGUMENT and cancels the call", async () => {
  const server = new TtrpcServer(new ManualClock(), { streaming: serverStreaming });
  const contexts: CallContext[] = [];
  server.register(EchoDefinition, {
    up(_, context) {
      contexts.push(context);
      return new Promise<Message>(() => {});
    },
  });
  const stream = new MemoryStream();
  server.accept(stream);
  stream.receive(request(1, "first", { method: "Up" }));
  stream.receive(rawFrame(1, FrameType.DATA, 1, hex("0a0161")));
  stream.receive(rawFrame(1, FrameType.DATA, 5, hex("")));
  assert.deepEqual([contexts.length, contexts[0]?.cancelled, stream.pending], [1, false, 0]);
  stream.receive(rawFrame(1, FrameType.DATA, 0, hex("")));
  assert.deepEqual((await answer(stream)).slice(0, 2), [1, "INVALID_ARGUMENT"]);
  assert.equal(contexts[0]?.cancelled, true);
});

test("the deadline answers DEADLINE_EXCEEDED, cancels the handler, and disarms when the call ends first", async () => {
  const { stream, clock, hanging } = bench();
  stream.receive(request(1, "hang", { timeoutMs: 50 }));
  stream.receive(request(3, "quick", { timeoutMs: 50 }));
  assert.deepEqual(await answer(stream), [3, "OK", "quick"]);
  assert.equal(clock.armed, 1);
  clock.advance(49);
  assert.equal(hanging[0]?.cancelled, false);
  assert.equal(hanging[0]?.deadlineMs, 1050);
  clock.advance(1);
  assert.deepEqual((await answer(stream)).slice(0, 2), [1, "DEADLINE_EXCEEDED"]);
  assert.equal(hanging[0]?.cancelled, true);
  await settle();
  // The handler's own failure, which follows, is not a second answer.
  assert.equal(stream.pending, 0);
});

test("a deadline that has passed is answered without running the handler, one of centuries arms no timer", async () => {
  const { stream, clock, hanging } = bench();
  stream.receive(request(1, "hang", { timeoutMs: -5 }));
  assert.deepEqual((await answer(stream)).slice(0, 2), [1, "DEADLINE_EXCEEDED"]);
  assert.equal(hanging.length, 0);
  stream.receive(request(3, "hang", { timeoutMs: 1e12 }));
  assert.equal(clock.armed, 0);
  assert.equal(hanging.length, 1);
});

test("the end of the connection cancels its handlers, once, and those that listen later at once", async () => {
  const { stream, hanging, server } = bench();
  stream.receive(request(1, "hang"));
  stream.receive(request(3, "hang"));
  let told = 0;
  const [first, second] = hanging;
  first?.onCancel(() => told++);
  second?.onCancel(() => told++)();
  assert.equal(server.activeCalls().length, 2);
  stream.end(new Error("ECONNRESET"));
  assert.deepEqual([first?.cancelled, second?.cancelled, told], [true, true, 1]);
  first?.onCancel(() => told++);
  assert.equal(told, 2);
  assert.equal(server.activeCalls().length, 0);
});

test("a handler sees metadata, peer and names of its call", async () => {
  const { stream, hanging, server } = bench();
  const metadata = new Map([["containerd-namespace-ttrpc", ["default"]]]);
  stream.receive(request(1, "hang", { metadata, service: "test.v2.Echo" }));
  assert.deepEqual(hanging[0]?.metadata, metadata);
  assert.deepEqual(hanging[0]?.peer, { pid: 1, uid: 0, gid: 0 });
  const [call] = server.activeCalls();
  assert.deepEqual([call?.service, call?.method, call?.startedMs], ["test.v2.Echo", "Unary", 1000]);
});

test("an observer is told of every call's method, duration and error", async () => {
  const seen: unknown[] = [];
  const { stream, clock } = bench({
    finished: (call, durationMs, error) =>
      seen.push([call.method, durationMs, error && codeName(error.code)]),
  });
  stream.receive(request(1, "a"));
  stream.receive(request(3, "a", { method: "Fly" }));
  await settle();
  stream.receive(request(5, "hang"));
  clock.advance(7);
  stream.end();
  assert.deepEqual(seen, [
    ["Unary", 0, undefined],
    ["Fly", 0, "UNIMPLEMENTED"],
    ["Unary", 7, "CANCELLED"],
  ]);
});

test("while a peer does not read its answers its requests are not read, and all are served once it does", async () => {
  const { stream, hanging } = bench();
  stream.stuck = true;
  stream.receive(request(1, "x".repeat(300 * 1024)));
  await settle();
  assert.equal(stream.paused, true);
  // What had already been read from the socket waits too.
  stream.receive(Buffer.concat([request(3, "hang"), request(5, "b")]));
  await settle();
  assert.equal(hanging.length, 0);
  assert.equal(stream.pending, 1);
  stream.drain();
  await settle();
  assert.equal(stream.paused, false);
  assert.equal(hanging.length, 1);
  assert.equal((await answer(stream))[0], 1);
  assert.deepEqual(await answer(stream), [5, "OK", "b"]);
});

test("shutdown takes no new calls and connections, and resolves when the last answer has been taken by the kernel", async () => {
  const { stream, server, clock } = bench();
  stream.receive(request(1, "hang", { timeoutMs: 10 }));
  let over = false;
  const done = server.shutdown().then(() => {
    over = true;
  });
  stream.receive(request(3, "late"));
  assert.deepEqual((await answer(stream)).slice(0, 2), [3, "UNAVAILABLE"]);
  const refused = new MemoryStream();
  server.accept(refused);
  assert.equal(refused.closed, true);
  stream.stuck = true;
  clock.advance(10);
  await settle();
  assert.equal(over, false);
  stream.drain();
  await done;
});

test("a call that asks for the shutdown gets its own answer first", async () => {
  const clock = new ManualClock();
  const server = new TtrpcServer(clock);
  const order: string[] = [];
  server.register(EchoDefinition, {
    unary(request) {
      void server.shutdown().then(() => order.push("shut down"));
      return request;
    },
  });
  const stream = new MemoryStream();
  server.accept(stream);
  const write = stream.write.bind(stream);
  stream.write = (frame) => {
    order.push("answered");
    write(frame);
  };
  stream.receive(request(1, "bye"));
  await settle();
  assert.deepEqual(order, ["answered", "shut down"]);
});

test("close cancels everything at once", () => {
  const { stream, server, hanging } = bench();
  stream.receive(request(1, "hang"));
  server.close();
  assert.equal(stream.closed, true);
  assert.equal(hanging[0]?.cancelled, true);
});

test("a name can be registered once, and streams only where the server has streaming", () => {
  const server = new TtrpcServer(new ManualClock());
  server.register(EchoDefinition, { unary: (message) => message });
  assert.throws(() => server.register(EchoDefinition, { unary: (message) => message }), /registered twice/);
  const streaming = { async *down() {} };
  assert.throws(() => server.register(EchoDefinition, streaming, ["other"]), /has no streaming/);
  const able = new TtrpcServer(new ManualClock(), { streaming: serverStreaming });
  assert.doesNotThrow(() => able.register(EchoDefinition, streaming));
});

test("random frames and random bytes never crash the server, and it still serves the next connection", async () => {
  const frame = fc
    .tuple(fc.nat(20), fc.nat(5), fc.nat(7), fc.uint8Array({ maxLength: 40 }))
    .map(([id, type, flags, data]) => rawFrame(id, type, flags, data));
  const method = fc.constantFrom("Unary", "Down", "Up", "Both");
  const good = fc
    .tuple(fc.nat(20), fc.string(), method)
    .map(([id, body, name]) => request(id, body, { method: name }));
  const input = fc.array(fc.oneof(frame, good, fc.uint8Array({ maxLength: 30 })), { maxLength: 25 });
  await fc.assert(
    fc.asyncProperty(input, async (chunks) => {
      const clock = new ManualClock();
      const server = new TtrpcServer(clock, { streaming: serverStreaming });
      server.register(EchoDefinition, {
        unary: (message) => message,
        async *down(message) {
          yield message;
        },
        async up(messages) {
          for await (const message of messages) if (message.text) return message;
          return text("");
        },
        async *both(messages) {
          yield* messages;
        },
      });
      const hostile = new MemoryStream();
      server.accept(hostile);
      for (const chunk of chunks) hostile.receive(chunk);
      await settle();
      hostile.end();
      assert.equal(server.activeCalls().length, 0);

      const next = new MemoryStream();
      server.accept(next);
      next.receive(request(1, "fine"));
      assert.deepEqual(await answer(next), [1, "OK", "fine"]);
      assert.equal(clock.armed, 0);
    }),
    { numRuns: 200 },
  );
});
