// How long a shim without containers stays, on a clock that is turned by hand.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Lifetime } from "../../src/shim/lifetime.ts";
import { ManualClock } from "../ttrpc/memory.ts";

function lifetime() {
  const clock = new ManualClock();
  let left = 0;
  const of = new Lifetime(clock, () => {
    left++;
  });
  /** Whether it has left by the end of so many ms, and not before. */
  const leavesAfter = (ms: number): void => {
    clock.advance(ms - 1);
    assert.equal(left, 0, `left before ${ms} ms`);
    clock.advance(1);
    assert.equal(left, 1, `has not left after ${ms} ms`);
  };
  return { of, clock, leavesAfter };
}

test("a shim that never had a container waits ten seconds for one", () => lifetime().leavesAfter(10_000));

test("a shim whose last container is gone leaves after a second", () => {
  const { of, leavesAfter } = lifetime();
  of.containersChanged(1);
  of.containersChanged(0);
  leavesAfter(1_000);
});

test("one that somebody is connected to leaves after five", () => {
  const { of, leavesAfter } = lifetime();
  of.containersChanged(1);
  of.connectionsChanged(1);
  of.containersChanged(0);
  leavesAfter(5_000);
});

test("one that has a container stays", () => {
  const { of, clock } = lifetime();
  of.containersChanged(1);
  of.connectionsChanged(1);
  of.connectionsChanged(0);
  clock.advance(1e9);
  of.containersChanged(0);
  assert.ok(clock.armed > 0);
});
