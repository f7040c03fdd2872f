// The streaming kinds of method between our client and our server over real unix sockets.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ClientStream } from "../../src/ttrpc/client-stream.ts";
import { MAX_DATA_BYTES } from "../../src/ttrpc/frame.ts";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";
import { bytes, EchoDefinition, type Message, text } from "./echo.ts";
import { gate, onPause, serve } from "./sockets.ts";

function failsWith(code: number) {
  return (error: unknown) => error instanceof TtrpcError && error.code === code;
}

async function texts(messages: AsyncIterable<Message>): Promise<string[]> {
  const all: string[] = [];
  for await (const message of messages) all.push(message.text);
  return all;
}

async function* numbered(count: number): AsyncGenerator<Message> {
  for (let n = 0; n < count; n++) yield text(`${n}`);
}

const upTo = (count: number) => Array.from({ length: count }, (_, n) => `${n}`);

test("a stream of answers arrives in order and ends", async (t) => {
  const { connect } = await serve(t, { down: ({ text }) => numbered(Number(text)) });
  const { echo } = await connect();
  for (const count of [0, 1, 1000]) assert.deepEqual(await texts(echo.down(text(`${count}`))), upTo(count));
});

test("a stream of requests gets one answer", async (t) => {
  const { connect } = await serve(t, { up: async (messages) => text((await texts(messages)).join()) });
  const { echo } = await connect();
  for (const count of [0, 1, 1000]) assert.equal((await echo.up(numbered(count))).text, upTo(count).join());
});

test("streams both ways are independent, and many of them share a connection", async (t) => {
  const { connect } = await serve(t, {
    async *both(messages) {
      for await (const message of messages) yield text(`re ${message.text}`);
    },
  });
  const { echo } = await connect();
  const all = await Promise.all([50, 100, 0, 7].map((count) => texts(echo.both(numbered(count)))));
  assert.deepEqual(
    all,
    [50, 100, 0, 7].map((count) => upTo(count).map((n) => `re ${n}`)),
  );
});

test("messages go to and fro while both sides are open", async (t) => {
  const { connect } = await serve(t, {
    async *both(messages) {
      for await (const message of messages) yield message;
    },
  });
  const { client } = await connect();
  const stream = new ClientStream(client, EchoDefinition.fullName, EchoDefinition.methods.both, undefined);
  for (const word of ["ping", "pong", ""]) {
    await stream.send(text(word));
    assert.equal((await stream.responses.next()).value?.text, word);
  }
  stream.closeSend();
  assert.equal((await stream.responses.next()).done, true);
  assert.equal(stream.open, false);
  await assert.rejects(stream.send(text("more")), failsWith(Code.FAILED_PRECONDITION));
});

test("an error ends a stream after what was sent before it", async (t) => {
  const { connect } = await serve(t, {
    async *down() {
      yield text("first");
      throw new TtrpcError(Code.DATA_LOSS, "the rest is gone");
    },
  });
  const { echo } = await connect();
  const answers = echo.down(text(""));
  assert.equal((await answers.next()).value?.text, "first");
  await assert.rejects(answers.next(), failsWith(Code.DATA_LOSS));
});

test("one message over the limit fails the stream", async (t) => {
  const { connect } = await serve(t, {
    async *down() {
      yield bytes(MAX_DATA_BYTES);
    },
  });
  const { echo } = await connect();
  await assert.rejects(texts(echo.down(text(""))), failsWith(Code.RESOURCE_EXHAUSTED));
});

test("a handler may answer before it has read all requests", async (t) => {
  const { connect } = await serve(t, {
    async up(messages) {
      for await (const message of messages) return message;
      return text("none");
    },
  });
  const { echo } = await connect();
  assert.equal((await echo.up(numbered(10_000))).text, "0");
  assert.equal((await echo.up(numbered(2))).text, "0");
});

test("a client that goes away breaks the handler's loop with CANCELLED, and stops a generator that sends", async (t) => {
  const ends: string[] = [];
  const reader = gate();
  const sender = gate();
  const first = gate();
  const { connect } = await serve(t, {
    async up(messages) {
      try {
        for await (const message of messages) if (message.text === "0") first.open();
        ends.push("clean end");
      } catch (error) {
        ends.push(TtrpcError.from(error).message);
      } finally {
        reader.open();
      }
      return text("");
    },
    async *down() {
      try {
        for (;;) yield bytes(100_000);
      } finally {
        ends.push("generator returned");
        sender.open();
      }
    },
  });
  const { client, echo } = await connect();
  async function* endless() {
    yield text("0");
    await new Promise(() => {});
  }
  const up = assert.rejects(echo.up(endless()), failsWith(Code.UNAVAILABLE));
  const down = echo.down(text(""));
  await down.next();
  await first.opened;
  client.close();
  await Promise.all([up, reader.opened, sender.opened]);
  assert.deepEqual(ends.sort(), ["CANCELLED: the call is over", "generator returned"]);
});

test("a sender waits for a slow reader instead of filling memory", async (t) => {
  let sent = 0;
  const size = 64 * 1024;
  const count = 400;
  const { connect, accepted } = await serve(t, {
    async *down() {
      for (; sent < count; sent++) {
        // Read at each step: what waits in this process is bounded by the limit and one message.
        assert.ok((accepted[0]?.queued ?? 0) <= 256 * 1024 + size + 100);
        yield bytes(size);
      }
    },
  });
  const { echo } = await connect();
  let received = 0;
  for await (const message of echo.down(text(""))) {
    received++;
    assert.equal(message.data.length, size);
    // The client takes 1 MiB and the kernel some; a server that did not wait would be done by now.
    if (received === 1) assert.ok(sent < count);
  }
  assert.equal(received, count);
});

test("requests that come faster than the handler reads are held back and none is lost", async (t) => {
  const heldBack = gate();
  const { connect, accepted } = await serve(t, {
    async up(messages) {
      if (accepted[0]) onPause(accepted[0], heldBack.open);
      await heldBack.opened;
      let total = 0;
      for await (const message of messages) total += message.data.length;
      return text(`${total}`);
    },
  });
  const { echo } = await connect();
  async function* flood() {
    for (let n = 0; n < 200; n++) yield bytes(50_000);
  }
  assert.equal((await echo.up(flood())).text, `${200 * 50_000}`);
});
