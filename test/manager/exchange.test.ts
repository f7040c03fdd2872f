// Events inside the daemon: what waits for a subscriber who does not read has a bound in bytes, and callers who leave leave nothing behind.
import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { test } from "node:test";
import { Exchange } from "../../src/manager/server/exchange.ts";
import { drained } from "../../src/manager/server/grpc-server.ts";
import { SharedAnswer } from "../../src/manager/tasks/shared-answer.ts";
import { Cancellation, type CancelSignal } from "../../src/ttrpc/cancel.ts";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";

const MIB = 1024 * 1024;

function newExchange(): Exchange {
  return new Exchange({ note: () => true, published: () => {} });
}

function publish(exchange: Exchange, bytes: number): void {
  exchange.publishFor("n", "/big", { typeUrl: "x", value: new Uint8Array(bytes) });
}

async function readAll(
  events: AsyncIterable<unknown>,
): Promise<{ count: number; error: TtrpcError | undefined }> {
  let count = 0;
  try {
    for await (const _ of events) count++;
  } catch (error) {
    return { count, error: TtrpcError.from(error) };
  }
  return { count, error: undefined };
}

test("a subscriber who does not read is cut off by the bytes that wait, gets what waited, and knows", async () => {
  const exchange = newExchange();
  const slow = exchange.subscribe([]);
  for (let n = 0; n < 40; n++) publish(exchange, MIB);
  const { count, error } = await readAll(slow);
  assert.equal(error?.code, Code.RESOURCE_EXHAUSTED);
  assert.equal(count, 32);
  assert.equal(exchange.subscribers, 0);
});

test("small events wait by the ten thousand, and whoever reads is never cut off", async () => {
  const exchange = newExchange();
  const slow = exchange.subscribe([]);
  for (let n = 0; n < 50_000; n++) publish(exchange, 1);
  for (let n = 0; n < 50_000; n++) assert.equal((await slow.next()).done, false);
  // Much more than the bound, in sum.
  for (let n = 0; n < 200; n++) {
    publish(exchange, MIB);
    assert.equal((await slow.next()).value?.topic, "/big");
  }
  await slow.return();
});

test("what a late subscriber may catch up with has the same bound", async () => {
  const exchange = newExchange();
  for (let n = 0; n < 100; n++) publish(exchange, MIB);
  publish(exchange, 1);
  const late = exchange.subscribe([]);
  let last = 0;
  let count = 0;
  while (last !== 1) {
    last = (await late.next()).value?.event?.value.length ?? 0;
    count++;
  }
  assert.equal(count, 32);
  await late.return();
});

/** Counts its listeners. */
class CountedSignal implements CancelSignal {
  readonly cancelled = false;
  listeners = 0;

  onCancel(): () => void {
    this.listeners++;
    return () => void this.listeners--;
  }
}

test("waiting for a slow client to read leaves no listener behind", async () => {
  const call = new EventEmitter();
  const signal = new CountedSignal();
  for (let n = 0; n < 50; n++) {
    const waiting = drained(call, signal);
    assert.deepEqual([signal.listeners, call.listenerCount("drain")], [1, 1]);
    call.emit("drain");
    await waiting;
  }
  assert.deepEqual([signal.listeners, call.listenerCount("drain")], [0, 0]);
  const cancellation = new Cancellation();
  const waiting = drained(call, cancellation);
  cancellation.cancel();
  await waiting;
  assert.equal(call.listenerCount("drain"), 0);
});

test("callers who leave before a shared answer are let go, and those who stay get it", async () => {
  let settle: (value: string) => void = () => {};
  const answer = new SharedAnswer(new Promise<string>((resolve) => (settle = resolve)));
  const stays = answer.get();
  for (let n = 0; n < 100; n++) {
    const caller = new Cancellation();
    const gone = answer.get(caller);
    caller.cancel();
    await assert.rejects(gone, (error: TtrpcError) => error.code === Code.CANCELLED);
  }
  assert.equal(answer.callers, 1);
  const signal = new CountedSignal();
  const stays2 = answer.get(signal);
  settle("ended");
  assert.deepEqual(await Promise.all([stays, stays2, answer.get()]), ["ended", "ended", "ended"]);
  assert.deepEqual([answer.callers, signal.listeners], [0, 0]);
});

test("a shared answer that fails fails for all who wait", async () => {
  const answer = new SharedAnswer(Promise.reject(new TtrpcError(Code.NOT_FOUND, "gone")));
  for (let n = 0; n < 2; n++) await assert.rejects(answer.get(), /gone/);
});
