// A cancellation and those who listen to it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Cancellation } from "../../src/ttrpc/cancel.ts";

test("each listener is called once, in order; the same one twice if it was given twice", () => {
  const cancellation = new Cancellation();
  const called: string[] = [];
  const first = (): void => void called.push("first");
  cancellation.onCancel(first);
  cancellation.onCancel(() => void called.push("second"));
  cancellation.onCancel(first);
  cancellation.cancel();
  cancellation.cancel();
  assert.deepEqual(called, ["first", "second", "first"]);
});

test("a listener that was taken off is not called, and the others are", () => {
  const cancellation = new Cancellation();
  const called: string[] = [];
  const listener = (): void => void called.push("twice");
  const takeOff = cancellation.onCancel(listener);
  cancellation.onCancel(listener);
  takeOff();
  takeOff();
  cancellation.cancel();
  takeOff();
  assert.deepEqual(called, ["twice"]);
});

test("who listens after the cancellation is called at once", () => {
  const cancellation = new Cancellation();
  cancellation.cancel();
  let calls = 0;
  cancellation.onCancel(() => calls++)();
  assert.equal(calls, 1);
  assert.ok(cancellation.cancelled);
});
