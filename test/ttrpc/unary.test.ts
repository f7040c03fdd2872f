// Unary calls between our client and our server over real unix sockets.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_DATA_BYTES } from "../../src/ttrpc/frame.ts";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";
import { bytes, type Message, text } from "./echo.ts";
import { gate, serve } from "./sockets.ts";

function failsWith(code: number) {
  return (error: unknown) => error instanceof TtrpcError && error.code === code;
}

test("many calls at once on one connection each get their own answer, in whatever order they end", async (t) => {
  const waiting: { message: Message; resolve: (message: Message) => void }[] = [];
  const count = 500;
  const { connect } = await serve(t, {
    unary: (message) =>
      new Promise((resolve) => {
        waiting.push({ message, resolve });
        // The last to come is answered first.
        if (waiting.length === count) for (const one of waiting.reverse()) one.resolve(one.message);
      }),
  });
  const { echo } = await connect();
  const answers = await Promise.all(Array.from({ length: count }, (_, n) => echo.unary(text(`call ${n}`))));
  assert.deepEqual(
    answers.map((message) => message.text),
    Array.from({ length: count }, (_, n) => `call ${n}`),
  );
});

test("a call that hangs does not keep others waiting", async (t) => {
  const { opened, open } = gate();
  const { connect } = await serve(t, {
    async unary(message) {
      if (message.text === "slow") await opened;
      return message;
    },
  });
  const { echo } = await connect();
  const slow = echo.unary(text("slow"));
  assert.equal((await echo.unary(text("quick"))).text, "quick");
  open();
  assert.equal((await slow).text, "slow");
});

test("messages of every size up to the limit arrive whole", async (t) => {
  const { connect } = await serve(t, { unary: (message) => message });
  const { echo } = await connect();
  for (const size of [0, 1, 127, 128, 65_535, 65_536, 1 << 20, MAX_DATA_BYTES - 100]) {
    const data = new Uint8Array(size).map((_, n) => n * 31);
    const answer = await echo.unary({ text: "", data });
    assert.ok(Buffer.from(data).equals(answer.data), `${size} bytes`);
  }
});

test("an answer over the limit fails its call and leaves the connection good", async (t) => {
  const { connect } = await serve(t, {
    unary: (message) => (message.text ? bytes(MAX_DATA_BYTES) : message),
  });
  const { echo } = await connect();
  await assert.rejects(echo.unary(text("big")), failsWith(Code.RESOURCE_EXHAUSTED));
  assert.deepEqual(await echo.unary(text("")), text(""));
});

test("a deadline ends the call on both ends", async (t) => {
  const { opened, open } = gate();
  const { connect, server } = await serve(t, {
    unary: (_, context) =>
      new Promise((_resolve, reject) => {
        context.onCancel(() => {
          open();
          reject(new Error("too late"));
        });
      }),
  });
  const { echo } = await connect();
  await assert.rejects(echo.unary(text("a"), { timeoutMs: 20 }), failsWith(Code.DEADLINE_EXCEEDED));
  await opened;
  assert.equal(server.activeCalls().length, 0);
});

test("a client that goes away cancels its own calls and no others", async (t) => {
  const started: string[] = [];
  const both = gate();
  const gone = gate();
  const finish = gate();
  const { connect } = await serve(t, {
    async unary(message, context) {
      context.onCancel(() => message.text === "leaver" && gone.open());
      if (started.push(message.text) === 2) both.open();
      await finish.opened;
      return text(context.cancelled ? "cancelled" : "kept");
    },
  });
  const leaver = await connect();
  const stayer = await connect();
  const lost = assert.rejects(leaver.echo.unary(text("leaver")), failsWith(Code.UNAVAILABLE));
  const kept = stayer.echo.unary(text("stayer"));
  await both.opened;
  leaver.client.close();
  await lost;
  await gone.opened;
  finish.open();
  assert.equal((await kept).text, "kept");
});

test("a server that goes away fails the client's calls", async (t) => {
  const { opened, open } = gate();
  const { connect, server } = await serve(t, {
    unary() {
      open();
      return new Promise(() => {});
    },
  });
  const { echo, client } = await connect();
  const call = echo.unary(text("a"));
  await opened;
  server.close();
  await assert.rejects(call, failsWith(Code.UNAVAILABLE));
  assert.equal(client.closed, true);
});
