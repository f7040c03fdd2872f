// How long a registry that is busy is left alone.
import assert from "node:assert/strict";
import { test } from "node:test";
import { answerError } from "../../src/registry/failure.ts";
import { patience } from "../../src/registry/retry.ts";

const busy = (header?: string) =>
  answerError("it", 429, header === undefined ? {} : { "retry-after": header }, "");

test("a registry says when it is to be asked again in seconds or by a date; anything else says nothing", () => {
  assert.equal(busy("7").retryAfterMs, 7000);
  assert.equal(busy("0").retryAfterMs, 0);
  const inAnHour = busy(new Date(Date.now() + 3_600_000).toUTCString()).retryAfterMs ?? 0;
  assert.ok(inAnHour > 3_000_000 && inAnHour <= 3_600_000, String(inAnHour));
  assert.equal(busy("Sun, 06 Nov 1994 08:49:37 GMT").retryAfterMs, 0);
  for (const text of ["", "-5", "1.5", "0x10", "soon", "Soon, in a moment", "5 minutes"])
    assert.equal(busy(text).retryAfterMs, undefined, text);
  assert.equal(busy().retryAfterMs, undefined);
});

test("what it says is kept to, but one that wants more than a minute is given up, and none is asked without a break", () => {
  const wait = (header: string, attempt = 1): number => patience(busy(header), attempt, true);
  assert.equal(wait("30"), 30_000);
  assert.equal(wait("61"), 0);
  assert.equal(wait("9".repeat(400)), 0);
  assert.equal(wait("1", 5), 0, "after five attempts");
  for (const header of ["0", "Sun, 06 Nov 1994 08:49:37 GMT", "soon"]) {
    const waits = [1, 2, 3, 4].map((attempt) => wait(header, attempt));
    assert.ok(
      waits.every((ms, index) => ms >= 100 * 2 ** index && ms <= 200 * 2 ** index),
      String(waits),
    );
  }
});
