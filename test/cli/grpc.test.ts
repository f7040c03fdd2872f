// The command line's own client of gRPC: against grpc-js, against Node's HTTP/2, and against servers that do what these do not.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, test } from "node:test";
import {
  type handleBidiStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
} from "@grpc/grpc-js";
import { Call } from "../../src/cli/grpc/call.ts";
import { GrpcClient } from "../../src/cli/grpc/client.ts";
import type { Http2Connection } from "../../src/cli/grpc/connection.ts";
import { FrameReader, FrameType, frame, numberFrame, settingsFrame } from "../../src/cli/grpc/frames.ts";
import { HeaderReader, packHeaders } from "../../src/cli/grpc/headers.ts";
import { decodeHuffman } from "../../src/cli/grpc/huffman.ts";
import { callCode } from "../../src/cli/text/problem.ts";
import { Code } from "../../src/ttrpc/status.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-grpc-"));
const address = join(directory, "s");
const open: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
  rmSync(address, { force: true });
});
after(() => rmSync(directory, { recursive: true, force: true }));

async function connect(): Promise<GrpcClient> {
  const client = await GrpcClient.connect(address, "test/1");
  open.push(() => client.close());
  return client;
}

/** Rejects with what a call fails with, as [code, details]. */
async function failure(call: Promise<unknown>): Promise<[code: number | undefined, details: string]> {
  const error: unknown = await call.then(
    () => assert.fail("it did not fail"),
    (thrown: unknown) => thrown,
  );
  return [callCode(error), (error as { details: string }).details];
}

const same = (bytes: Buffer): Buffer => bytes;
const streams = {
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
};
const METHODS = {
  Unary: { path: "/t.T/Unary", requestStream: false, responseStream: false, ...streams },
  Down: { path: "/t.T/Down", requestStream: false, responseStream: true, ...streams },
  Both: { path: "/t.T/Both", requestStream: true, responseStream: true, ...streams },
} as const;

interface Handlers {
  readonly Unary?: handleUnaryCall<Buffer, Buffer>;
  readonly Down?: handleServerStreamingCall<Buffer, Buffer>;
  readonly Both?: handleBidiStreamingCall<Buffer, Buffer>;
}

async function serve(handlers: Handlers): Promise<Server> {
  const server = new Server({ "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 });
  server.addService(METHODS, { ...handlers });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${address}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    );
  });
  open.push(() => server.forceShutdown());
  return server;
}

/** Node's HTTP/2, without gRPC. */
async function serveStreams(answer: (stream: ServerHttp2Stream) => void): Promise<void> {
  const server = createHttp2Server();
  server.on("session", (session) => open.push(() => session.destroy()));
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    answer(stream);
  });
  server.listen(address);
  await once(server, "listening");
  open.push(() => server.close());
}

/** Whatever a program may write; `come` is called for each frame of the client. */
async function serveFrames(
  come: (socket: Socket, type: number, stream: number, flags: number, payload: Buffer) => void,
  connected: (socket: Socket) => void = (socket) => void socket.write(settingsFrame([])),
): Promise<void> {
  const server = createServer((socket) => {
    const reader = new FrameReader();
    let left = 24;
    open.push(() => socket.destroy());
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      const bytes = chunk.subarray(left);
      left = Math.max(0, left - chunk.length);
      for (const { type, stream, flags, payload } of reader.read(bytes))
        come(socket, type, stream, flags, payload);
    });
    connected(socket);
  });
  server.listen(address);
  await once(server, "listening");
  open.push(() => server.close());
}

const TEXT = Buffer.from("hello");
const ask = (client: GrpcClient, message: Uint8Array = TEXT, timeoutMs?: number): Promise<Uint8Array> =>
  client.unary("/t.T/Unary", [["containerd-namespace", "n"]], message, timeoutMs);

test("headers are read as RFC 7541 writes them in its examples, packed and from the table", () => {
  const reader = new HeaderReader();
  const blocks = [
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
  ];
  const common = [
    [":method", "GET"],
    [":scheme", "http"],
    [":path", "/"],
    [":authority", "www.example.com"],
  ];
  const read = blocks.map((block) => reader.read(Buffer.from(block, "hex")));
  assert.deepEqual(read[0], common);
  assert.deepEqual(read[1], [...common, ["cache-control", "no-cache"]]);
  assert.deepEqual(read[2], [
    [":method", "GET"],
    [":scheme", "https"],
    [":path", "/index.html"],
    [":authority", "www.example.com"],
    ["custom-key", "custom-value"],
  ]);
});

test("what is packed is what is read, of any length; what no header can hold is refused", () => {
  const headers = [0, 1, 126, 127, 128, 254, 255, 16_000].map((length) => ["a", "x".repeat(length)] as const);
  assert.deepEqual(new HeaderReader().read(packHeaders(headers)), headers);
  assert.throws(() => packHeaders([["a", "ü"]]), /cannot hold/);
  assert.throws(() => packHeaders([["a", "x\r\ny"]]), /cannot hold/);
});

test("headers that make no sense are refused", () => {
  const wrong = [
    "80",
    "be",
    "40",
    "4003",
    "ff",
    "ffffffffffff7f",
    "3fe2ffff7f",
    "0084ffffffff",
    "008100",
    "01",
  ];
  for (const block of wrong) assert.throws(() => new HeaderReader().read(Buffer.from(block, "hex")), block);
});

test("what came before is remembered as far as it has room, the newest first", () => {
  const reader = new HeaderReader();
  for (const value of ["1", "2", "3"]) {
    const block = packHeaders([["a", value.repeat(2000)]]);
    // To be remembered.
    block[0] = 0x40;
    reader.read(block);
  }
  // Behind the static table's 61.
  const remembered = (place: number): string | undefined =>
    reader.read(Buffer.of(0x80 | (61 + place)))[0]?.[1][0];
  assert.deepEqual([remembered(1), remembered(2)], ["3", "2"]);
  assert.throws(() => remembered(3), /no header has the index 64/);
  // A table of no size.
  reader.read(Buffer.of(0x20));
  assert.throws(() => remembered(1), /no header has the index 62/);
});

test("a Huffman text is refused if it is cut or goes on behind its end", () => {
  assert.equal(decodeHuffman(Buffer.from("f1e3c2e5f23a6ba0ab90f4ff", "hex")).toString(), "www.example.com");
  for (const wrong of ["f1e3c2e5f23a6ba0ab90f4", "ffffffff", "f1e3c2e5f23a6ba0ab90f4ffff"]) {
    assert.throws(() => decodeHuffman(Buffer.from(wrong, "hex")), wrong);
  }
});

test("every byte that Node's HTTP/2 packs into a header is read again", async () => {
  const value = Array.from({ length: 0x7f - 0x21 }, (_, index) => String.fromCharCode(0x21 + index)).join("");
  await serveStreams((stream) => {
    stream.respond(
      { ":status": 200, "content-type": "application/grpc", "x-all": value },
      { waitForTrailers: true },
    );
    stream.on("wantTrailers", () =>
      stream.sendTrailers({ "grpc-status": "5", "grpc-message": encodeURIComponent(value) }),
    );
    stream.end();
  });
  const client = await connect();
  // The second time from the table.
  for (let turn = 0; turn < 3; turn++) assert.deepEqual(await failure(ask(client)), [Code.NOT_FOUND, value]);
});

test("a call takes its message, metadata, deadline and name there, and the answer back", async () => {
  let seen: Metadata = new Metadata();
  await serve({
    Unary: (call, answer) => {
      seen = call.metadata;
      answer(null, call.request);
    },
  });
  const client = await connect();
  assert.deepEqual(Buffer.from(await ask(client, TEXT, 60_000)), TEXT);
  assert.deepEqual(seen.get("containerd-namespace"), ["n"]);
  assert.match(String(seen.get("user-agent")), /^test\/1/);
  assert.deepEqual(Buffer.from(await ask(client, new Uint8Array(0))), Buffer.alloc(0));
});

test("messages of many frames and windows go both ways, many at once, each whole", async () => {
  await serve({ Unary: (call, answer) => answer(null, call.request) });
  const client = await connect();
  const messages = [0, 1, 16_379, 16_380, 65_535, 1_000_000, 5_000_000, 16 * 1024 * 1024].map((size, index) =>
    Buffer.alloc(size, index + 1),
  );
  const answers = await Promise.all(messages.map((message) => ask(client, message)));
  for (const [index, answer] of answers.entries()) {
    assert.equal(Buffer.compare(Buffer.from(answer), messages[index] ?? TEXT), 0, `message ${index}`);
  }
});

test("a message of many frames is put together once", async (context) => {
  const stream = { send() {}, end() {}, cancel() {}, more() {} };
  const connection = { begin: () => stream } as unknown as Http2Connection;
  const maxBytes = 16 * 1024 * 1024;
  const call = new Call({
    path: "/t.T/Unary",
    headers: [],
    timeoutMs: undefined,
    maxBytes,
    connect: () => connection,
  });
  const concat = context.mock.method(Buffer, "concat");
  const message = Buffer.alloc(4 * 1024 * 1024, 7);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  call.data(head.subarray(0, 3));
  call.data(head.subarray(3));
  for (let at = 0; at < message.length; at += 16_384) call.data(message.subarray(at, at + 16_384));
  assert.deepEqual(Buffer.from((await call.next()) ?? []), message);
  const copied = concat.mock.calls.reduce((sum, { result }) => sum + (result?.length ?? 0), 0);
  assert.ok(copied < 2 * message.length, `${copied} bytes were copied`);
});

test("a message too large either way fails its call, and no other", async () => {
  await serve({
    Unary: (call, answer) => answer(null, Buffer.alloc(call.request.length === 1 ? 17 * 1024 * 1024 : 1)),
  });
  const client = await connect();
  assert.equal((await failure(ask(client, new Uint8Array(1))))[0], Code.RESOURCE_EXHAUSTED);
  assert.equal(
    (await failure(ask(client, new Uint8Array(16 * 1024 * 1024 + 1))))[0],
    Code.RESOURCE_EXHAUSTED,
  );
  assert.equal((await ask(client)).length, 1);
});

test("an error has its code and text, with what is not ASCII", async () => {
  const details = "kein „ü“ 100 %\nzweite Zeile";
  await serve({ Unary: (_, answer) => answer({ code: Code.FAILED_PRECONDITION, details }) });
  const client = await connect();
  assert.deepEqual(await failure(ask(client)), [Code.FAILED_PRECONDITION, details]);
  assert.equal((await failure(client.unary("/t.T/Nothing", [], TEXT, undefined)))[0], Code.UNIMPLEMENTED);
  assert.equal(
    (await failure(client.unary("/t.T/Unary", [["a", "ü"]], TEXT, undefined)))[0],
    Code.INVALID_ARGUMENT,
  );
});

test("a stream is read message by message, as slowly as its reader likes, while others go on", async () => {
  const COUNT = 400;
  await serve({
    Unary: (call, answer) => answer(null, call.request),
    Down: async (call) => {
      for (let index = 0; index < COUNT; index++) {
        if (!call.write(Buffer.alloc(100_000, index))) await once(call, "drain");
      }
      call.end();
    },
  });
  const client = await connect();
  const call = client.begin("/t.T/Down", []);
  call.send(TEXT);
  call.end();
  await call.next();
  for (let turn = 0; turn < 20; turn++) await ask(client, Buffer.alloc(1_000_000));
  let count = 1;
  for (let next = await call.next(); next !== undefined; next = await call.next()) {
    assert.equal(next[99_999], count++ % 256);
  }
  assert.equal(count, COUNT);
});

test("a call whose both sides are streams goes on until both have ended", async () => {
  await serve({
    Both: (call) => {
      call.on("data", (message: Buffer) => void call.write(message));
      call.once("end", () => call.end());
    },
  });
  const call = (await connect()).begin("/t.T/Both", []);
  for (const text of ["a", "b", "c"]) {
    call.send(Buffer.from(text));
    assert.equal(Buffer.from((await call.next()) ?? "").toString(), text);
  }
  call.end();
  assert.equal(await call.next(), undefined);
});

test("a server that ends first is no attacked one: a thousand such calls leave the connection as it is", async () => {
  await serve({
    Both: (call) => {
      call.once("data", (message: Buffer) => {
        call.write(message);
        call.end();
      });
    },
    Unary: (call, answer) => answer(null, Buffer.from(call.getPeer())),
  });
  const client = await connect();
  for (let turn = 0; turn < 1500; turn++) {
    const call = client.begin("/t.T/Both", []);
    call.send(TEXT);
    assert.equal((await call.next())?.length, TEXT.length);
    assert.equal(await call.next(), undefined);
  }
  assert.ok((await ask(client)).length >= 0);
});

test("a deadline and a cancel end a call on both sides", async () => {
  const cancelled = new Promise<void>((resolve) => {
    let left = 2;
    void serve({ Unary: (call) => call.once("cancelled", () => --left === 0 && resolve()) }).then(begin);
  });
  let client: GrpcClient;
  async function begin(): Promise<void> {
    client = await connect();
    assert.equal((await failure(ask(client, TEXT, 50)))[0], Code.DEADLINE_EXCEEDED);
    const call = client.begin("/t.T/Unary", []);
    call.send(TEXT);
    call.end();
    const [, [code]] = await Promise.all([Promise.resolve(call.cancel()), failure(call.next())]);
    assert.equal(code, Code.CANCELLED);
  }
  await cancelled;
});

test("a server that goes away fails its calls as UNAVAILABLE, and is found again when it is back", async () => {
  const first = await serve({ Unary: () => {} });
  const client = await connect();
  const waiting = failure(ask(client));
  // It has come.
  await new Promise((resolve) => setImmediate(resolve));
  first.forceShutdown();
  assert.notEqual((await waiting)[0], undefined);
  assert.equal((await failure(ask(client)))[0], Code.UNAVAILABLE);
  rmSync(address, { force: true });
  await serve({ Unary: (call, answer) => answer(null, call.request) });
  assert.equal((await ask(client)).length, TEXT.length);
});

test("nobody there is a system's error", async () => {
  await assert.rejects(GrpcClient.connect(address, "test/1"), { code: "ENOENT", path: address });
});

test("calls that a server has turned away unseen are made again on a new connection; those it has seen are not", async () => {
  let connections = 0;
  const calls: number[] = [];
  await serveFrames(
    (socket, type, stream) => {
      if (type !== FrameType.HEADERS) return;
      calls.push(connections);
      const last = Buffer.alloc(8);
      if (connections === 1) socket.write(frame(FrameType.GOAWAY, 0, 0, last));
      else if (connections === 2) {
        last.writeUInt32BE(stream);
        socket.write(frame(FrameType.GOAWAY, 0, 0, last));
        socket.end();
      }
    },
    (socket) => {
      connections++;
      socket.write(settingsFrame([]));
    },
  );
  const client = await connect();
  assert.equal((await failure(ask(client)))[0], Code.UNAVAILABLE);
  assert.deepEqual(calls, [1, 2]);
});

test("a server that refuses every stream is asked a few times only", async () => {
  let asked = 0;
  await serveFrames((socket, type, stream) => {
    if (type !== FrameType.HEADERS) return;
    asked++;
    socket.write(numberFrame(FrameType.RST_STREAM, stream, 7));
  });
  assert.equal((await failure(ask(await connect())))[0], Code.UNAVAILABLE);
  assert.ok(asked > 1 && asked < 10);
});

/** An answer of one byte in frames that are padded, cut and put together as the protocol allows. */
function oddAnswer(stream: number): Buffer[] {
  const block = packHeaders([
    [":status", "200"],
    ["content-type", "application/grpc"],
  ]);
  const end = packHeaders([["grpc-status", "0"]]);
  const data = Buffer.from([0, 0, 0, 0, 1, 0x77]);
  return [
    frame(
      FrameType.HEADERS,
      8 | 0x20,
      stream,
      Buffer.concat([Buffer.from([2]), Buffer.alloc(5), block.subarray(0, 3), Buffer.alloc(2)]),
    ),
    frame(FrameType.CONTINUATION, 0, stream, block.subarray(3, 10)),
    frame(FrameType.CONTINUATION, 4, stream, block.subarray(10)),
    frame(0xbb, 0xff, 77, TEXT),
    frame(FrameType.PING, 0, 0, Buffer.alloc(8, 1)),
    frame(FrameType.DATA, 8, stream, Buffer.concat([Buffer.from([3]), data.subarray(0, 2), Buffer.alloc(3)])),
    frame(FrameType.DATA, 0, stream, Buffer.alloc(0)),
    frame(FrameType.DATA, 0, stream, data.subarray(2)),
    frame(FrameType.HEADERS, 1, stream, Buffer.alloc(0)),
    frame(FrameType.CONTINUATION, 4, stream, end),
  ];
}

test("frames may be padded, cut anywhere, and of kinds that nobody knows; a ping is answered", async () => {
  let pongs = 0;
  await serveFrames((socket, type, stream) => {
    if (type === FrameType.PING) pongs++;
    if (type !== FrameType.DATA) return;
    const bytes = Buffer.concat(oddAnswer(stream));
    // Byte by byte, each in a read of its own where the kernel likes.
    for (let at = 0; at < bytes.length; at++) socket.write(bytes.subarray(at, at + 1));
  });
  const client = await connect();
  for (let turn = 0; turn < 3; turn++) assert.deepEqual([...(await ask(client))], [0x77]);
  assert.ok(pongs >= 2);
});

const RUBBISH: Readonly<Record<string, (stream: number) => Buffer>> = {
  "an answer of HTTP/1.1": () => Buffer.from("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
  "a frame without its end": () => numberFrame(FrameType.RST_STREAM, 1, 0).subarray(0, 8),
  "a reset of two bytes": (stream) => frame(FrameType.RST_STREAM, 0, stream, Buffer.alloc(2)),
  "headers of no index": (stream) => frame(FrameType.HEADERS, 4, stream, Buffer.from("ff", "hex")),
  "headers that break off": (stream) =>
    Buffer.concat([
      frame(FrameType.HEADERS, 0, stream, Buffer.alloc(0)),
      frame(FrameType.DATA, 0, stream, TEXT),
    ]),
  "more padding than data": (stream) => frame(FrameType.DATA, 8, stream, Buffer.from([9, 1])),
  "a push": (stream) => frame(FrameType.PUSH_PROMISE, 4, stream, Buffer.alloc(4)),
  "headers without an end": (stream) =>
    Buffer.concat([
      frame(FrameType.HEADERS, 0, stream, Buffer.alloc(0)),
      ...Array.from({ length: 80 }, () => frame(FrameType.CONTINUATION, 0, stream, Buffer.alloc(16_000))),
    ]),
};

for (const [what, bytes] of Object.entries(RUBBISH)) {
  test(`${what} fails the call as UNAVAILABLE`, async () => {
    let isAnswered = false;
    await serveFrames((socket, type, stream) => {
      if (type !== FrameType.DATA || isAnswered) return;
      isAnswered = true;
      socket.write(bytes(stream));
      // All else is noticed though the server waits.
      if (what === "a frame without its end") socket.end();
    });
    assert.equal((await failure(ask(await connect(), TEXT, 20_000)))[0], Code.UNAVAILABLE);
  });
}

test("an answer that is no gRPC is an error of its HTTP status", async () => {
  await serveStreams((stream) => {
    stream.respond({ ":status": 503 });
    stream.end("busy");
  });
  assert.equal((await failure(ask(await connect())))[0], Code.UNAVAILABLE);
});

test("a server's smaller and larger windows are kept to", async () => {
  const sizes: number[] = [];
  let taken = 0;
  const message = Buffer.alloc(300_000, 1);
  await serveFrames(
    (socket, type, stream, flags, payload) => {
      if (type !== FrameType.DATA) return;
      sizes.push(payload.length);
      taken += payload.length;
      if (payload.length > 0) {
        socket.write(numberFrame(FrameType.WINDOW_UPDATE, 0, payload.length));
        socket.write(numberFrame(FrameType.WINDOW_UPDATE, stream, payload.length));
      }
      if ((flags & 1) !== 0) socket.write(Buffer.concat(oddAnswer(stream)));
    },
    (socket) => void socket.write(settingsFrame([[4, 1000]])),
  );
  const client = await connect();
  // By now its settings may have come or not: the first call waits for an answer to be sure.
  await ask(client);
  sizes.length = 0;
  taken = 0;
  await ask(client, message);
  assert.equal(taken, message.length + 5);
  assert.ok(Math.max(...sizes) <= 1000, `${Math.max(...sizes)} bytes at once`);
});

test("what all streams together may send is kept to, however much each of them may", async () => {
  let taken = 0;
  let atRest = 0;
  await serveFrames(
    (socket, type, stream, flags, payload) => {
      if (type === FrameType.PING && flags === 1 && payload[0] === 2) {
        // All that came before the answer.
        atRest = taken;
        socket.write(numberFrame(FrameType.WINDOW_UPDATE, 0, 1_000_000));
      }
      if (type !== FrameType.DATA) return;
      const before = taken;
      taken += payload.length;
      if (before < 65_535 && taken >= 65_535) socket.write(frame(FrameType.PING, 0, 0, Buffer.alloc(8, 2)));
      if ((flags & 1) !== 0) socket.write(Buffer.concat(oddAnswer(stream)));
    },
    (socket) => void socket.write(settingsFrame([[4, 10_000_000]])),
  );
  const client = await connect();
  // Its settings have come with the answer.
  await ask(client);
  const small = taken;
  await Promise.all([ask(client, Buffer.alloc(150_000, 1)), ask(client, Buffer.alloc(150_000, 1))]);
  assert.equal(atRest, 65_535);
  assert.equal(taken, small + 2 * 150_005);
});
