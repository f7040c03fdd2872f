// What is done as one: nothing is written and no descriptor closed before it is over, whatever it is made of.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { asOne, beforeEffect, useBeforeEffects, whenWritten } from "../../src/platform/effects.ts";

const done: string[] = [];
useBeforeEffects(() => void done.push("written"));
beforeEach(() => {
  done.length = 0;
});

const close = (name: string): void => whenWritten(() => void done.push(`closed ${name}`));

test("what is done as one is written before the first of its descriptors is closed, in their order, and so are its parts", () => {
  const result = asOne(() => {
    close("a");
    const inner = asOne(() => {
      close("b");
      beforeEffect();
      return 7;
    });
    close("c");
    assert.deepEqual(done, []);
    return inner;
  });
  assert.equal(result, 7);
  const closed = done.filter((each) => each !== "written");
  assert.deepEqual([done[0], ...closed], ["written", "closed a", "closed b", "closed c"]);
});

test("what fails half-way closes nothing, and the next thing is written as ever", () => {
  assert.throws(
    () =>
      asOne(() => {
        close("a");
        throw new Error("half-way");
      }),
    /half-way/,
  );
  assert.deepEqual(done, []);
  close("b");
  assert.deepEqual(done, ["written", "closed b"]);
});
