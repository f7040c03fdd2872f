// A peer that asks and does not read, over a real unix socket.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createConnection } from "node:net";
import { test } from "node:test";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { WRITE_LIMIT_BYTES } from "../../src/ttrpc/channel.ts";
import { encodePayload, encodeRequest } from "../../src/ttrpc/envelope.ts";
import { FrameDecoder } from "../../src/ttrpc/frame.ts";
import { bytes, EchoDefinition, Message, text } from "./echo.ts";
import { rawFrame } from "./memory.ts";
import { gate, onPause, serve } from "./sockets.ts";

const ANSWER_BYTES = 100_000;
const REQUESTS = 2000;

function request(streamId: number): Uint8Array {
  const call = {
    service: EchoDefinition.fullName,
    method: "Unary",
    timeoutMs: undefined,
    metadata: new Map(),
  };
  // Padded, so that the requests do not all fit into the socket's buffers.
  const payload = { text: "x".repeat(2000), data: new Uint8Array(0) };
  const data = encodePayload(3, Message, payload, encodeRequest(call, new BinaryWriter())).finish();
  return rawFrame(streamId, 1, 0, data);
}

test("a peer that does not read its answers is no longer served, costs bounded memory, and holds up nobody else", async (t) => {
  let served = 0;
  let most = 0;
  const blocked = gate();
  const { path, connect, accepted } = await serve(t, {
    unary(message) {
      if (message.text === "other") return message;
      if (served++ === 0 && accepted[0]) onPause(accepted[0], blocked.open);
      return bytes(ANSWER_BYTES);
    },
  });
  const deaf = createConnection(path);
  t.after(() => deaf.destroy());
  await once(deaf, "connect");
  deaf.pause();
  const all = Buffer.concat(Array.from({ length: REQUESTS }, (_, n) => request(2 * n + 1)));
  deaf.write(all);

  // The other client's calls are the clock: each is a full round of the server's loop.
  const { echo } = await connect();
  const stream = accepted[0];
  assert.ok(stream);
  await blocked.opened;
  let before = -1;
  while (before !== served) {
    before = served;
    for (let n = 0; n < 20; n++) assert.equal((await echo.unary(text("other"))).text, "other");
    most = Math.max(most, stream.queued);
  }
  assert.ok(served < REQUESTS, `${served} requests were served`);
  // One read's worth of requests may be under way when the limit is met: 64 KiB of them.
  const oneRead = Math.ceil(65_536 / request(1).length);
  assert.ok(most <= WRITE_LIMIT_BYTES + (oneRead + 1) * (ANSWER_BYTES + 20), `${most} bytes were queued`);

  // It starts to read: everything is answered.
  const decoder = new FrameDecoder();
  let answered = 0;
  for await (const chunk of deaf) {
    decoder.push(chunk);
    for (let frame = decoder.next(); frame; frame = decoder.next()) answered++;
    if (answered === REQUESTS) break;
  }
  assert.equal(served, REQUESTS);
});

test("a peer that never reads and goes away is noticed, although nothing is read from it", async (t) => {
  const gone = gate();
  const stopped = gate();
  const { path, server, accepted } = await serve(t, {
    unary(_, context) {
      if (accepted[0]) onPause(accepted[0], stopped.open);
      context.onCancel(gone.open);
      // The first ones hang, so that there is something to cancel.
      return server.activeCalls().length < 3 ? new Promise<Message>(() => {}) : bytes(ANSWER_BYTES);
    },
  });
  const deaf = createConnection(path);
  await once(deaf, "connect");
  deaf.pause();
  deaf.write(Buffer.concat(Array.from({ length: 200 }, (_, n) => request(2 * n + 1))));
  await stopped.opened;
  deaf.destroy();
  await gone.opened;
  assert.equal(server.activeCalls().length, 0);
});
