// Waiting that ends.
import assert from "node:assert/strict";
import { test } from "node:test";
import { within } from "../../src/platform/deadline.ts";
import type { Clock, Timer } from "../../src/platform/platform.ts";

/** A clock whose timers are fired by hand. */
class HandClock implements Pick<Clock, "after"> {
  readonly pending = new Set<() => void>();
  after(_ms: number, callback: () => void): Timer {
    this.pending.add(callback);
    return { cancel: () => this.pending.delete(callback) };
  }
  get asClock(): Clock {
    return this as unknown as Clock;
  }
}

test("work that settles in time is told so, and the timer goes with it", async () => {
  const clock = new HandClock();
  assert.equal(await within(clock.asClock, 10, Promise.resolve()), true);
  assert.equal(clock.pending.size, 0);
});

test("work that fails has settled too", async () => {
  const clock = new HandClock();
  const waiting = within(clock.asClock, 10, Promise.reject(new Error("no")));
  await new Promise(setImmediate);
  assert.equal(clock.pending.size, 0);
  assert.equal(await waiting, true);
});

test("work that goes on is not waited for, and may settle later", async () => {
  const clock = new HandClock();
  let settle: () => void = () => {};
  const work = new Promise<void>((resolve) => {
    settle = resolve;
  });
  const waiting = within(clock.asClock, 10, work);
  for (const fire of clock.pending) fire();
  assert.equal(await waiting, false);
  settle();
  await work;
});
