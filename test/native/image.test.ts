// What the compiled program holds beside its code: it stays in the read-only image as far as it can.
import assert from "node:assert/strict";
import { test } from "node:test";
import { forEachBuild } from "./host-program.ts";

await forEachBuild("image", (program) => {
  test("constants of every kind are what they were", async () => {
    const large = ["0", "-1", "9223372036854775807", "9223372036854775808", "18446744073709551615"];
    assert.deepEqual(await program.reports("constants", large), [
      [2147483647, -2147483648, 4294967295, 0.1, -1e300, 5e-324],
      large.map(() => true),
      ["", "plain", "\0 in it", "ä", "\u{1f600} wide", "__proto__", "constructor", "12"],
      [true, true, true],
    ]);
  });

  test("names outlive the functions that use them", async () => {
    assert.deepEqual(await program.reports("names"), [[1, 2]]);
  });

  test("functions of every kind work after a collection", async () => {
    const [report] = await program.reports("functions");
    assert.deepEqual((report as unknown[]).slice(0, 4), [2, "base", [0, 1, 2], 8]);
    assert.equal((report as unknown[])[5], 1);
  });
});
