// Whose process one is, by its parents.
import assert from "node:assert/strict";
import { test } from "node:test";
import { descendsFrom } from "../../src/task/unfinished-exec.ts";

const SHIM = 10;

test("a process is the shim's through any runtime between them", () => {
  const parents = new Map([
    [40, 30],
    [30, 20],
    [20, SHIM],
    [SHIM, 1],
  ]);
  const parent = (pid: number): number => parents.get(pid) ?? 0;
  assert.equal(descendsFrom(40, SHIM, parent), true);
  assert.equal(descendsFrom(20, SHIM, parent), true);
  assert.equal(descendsFrom(SHIM, SHIM, parent), false);
  assert.equal(descendsFrom(50, SHIM, parent), false);
});

test("it is so too when a runtime between them ends while it is looked at", () => {
  let isOver = false;
  const parent = (pid: number): number => {
    if (pid === 40) return isOver ? SHIM : 30;
    isOver = true;
    return 0;
  };
  assert.equal(descendsFrom(40, SHIM, parent), true);
});

test("parents that change all the time are looked at so often and no more", () => {
  assert.equal(
    descendsFrom(40, SHIM, (pid) => (pid === 40 ? 30 : 0)),
    false,
  );
});
