// The engine's memory: small blocks lie in pages of blocks of one size, beyond 32 MiB of these, and without address space for them, in the C library's heap.
import assert from "node:assert/strict";
import { test } from "node:test";
import { forEachBuild } from "./host-program.ts";

await forEachBuild("memory", (program) => {
  const count = program.build === "release" ? "20000" : "500";

  test("blocks of every size are whole after many others have come and gone", async () => {
    assert.deepEqual(await program.reports("churn", [count]), [0]);
  });

  test("more small blocks than the pools have room for", {
    skip: program.build === "sanitize" && "the sanitizer has no pools",
  }, async () => {
    assert.deepEqual(await program.reports("churn", ["90000"]), [0]);
  });

  test("a limit of the address space leaves the C library's heap", {
    skip: program.build === "sanitize" && "the sanitizer needs more itself",
  }, async () => {
    const wrapper = ["prlimit", `--as=${24 << 20}`];
    assert.deepEqual(await program.reports("churn", ["2000"], { wrapper }), [0]);
  });
});
