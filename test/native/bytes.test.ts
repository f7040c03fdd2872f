import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { recordBatch } from "../harness/state-file.ts";
import { forEachBuild } from "./host-program.ts";

const malformed = [
  "61ff62",
  "c0af",
  "e080af",
  "f0808080",
  "eda080",
  "edbfbf",
  "f4908080",
  "c3",
  "e282",
  "f09f98",
  "e28261",
  "f09f9861",
  "80",
  "bfbf",
  "f8888080",
  "feff",
  "c3c3a9",
  "61e2",
  "e1a0c0",
  "00ff00",
];
const wellFormed = [
  "",
  "616263",
  "c3a9",
  "e282ac",
  "f09f9880",
  "efbfbd",
  "efbbbf61",
  "7f",
  "c280",
  "dfbf",
  "e0a080",
  "ed9fbf",
  "ee8080",
  "f48fbfbf",
  "610062",
];
const texts = [
  "",
  "plain",
  "é€😀",
  "\ud800",
  "a\udc00b",
  "\ud83d\ude00\ud83d",
  "\ufeffx",
  "a\0b",
  "\u{10ffff}",
  "\udc00\ud800",
];

await forEachBuild("bytes", (program) => {
  test("UTF-8 is decoded as the standard decoder does, malformed input included", async () => {
    const samples = [...malformed, ...wellFormed];
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    assert.deepEqual(
      await program.reports("decode", samples),
      samples.map((hex) => decoder.decode(Buffer.from(hex, "hex"))),
    );
  });

  test("every pair of bytes decodes as in Node", async () => {
    const bytes = Buffer.from(Array.from({ length: 65536 }, (_, i) => [i >> 8, i & 255, 0x20]).flat());
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    const parts = Array.from({ length: 32 }, (_, i) => bytes.subarray(i * 6144, (i + 1) * 6144));
    assert.deepEqual(
      await program.reports(
        "decode",
        parts.map((part) => part.toString("hex")),
      ),
      parts.map((part) => decoder.decode(part)),
    );
  });

  test("text is encoded as the standard encoder does, lone surrogates included", async () => {
    assert.deepEqual(
      await program.reports(
        "encode",
        texts.map((text) => JSON.stringify(text)),
      ),
      texts.map((text) => Buffer.from(new TextEncoder().encode(text)).toString("hex")),
    );
  });

  test("SHA-256 around the block size", async () => {
    const sizes = [0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 1000, 100000];
    const expected = sizes.map((size) =>
      createHash("sha256")
        .update(Buffer.from(Array.from({ length: size }, (_, i) => i & 255)))
        .digest("hex"),
    );
    assert.deepEqual(await program.reports("sha256", sizes.map(String)), expected);
  });

  test("a batch of records is what docs/state.md says: text, bytes, and records that are gone", async () => {
    const large = "x€".repeat(10_000);
    const samples: readonly (readonly (string | number[] | null)[])[] = [
      [],
      ["call 8 1", null],
      ["", ""],
      ["é€😀", "a\0b", "bytes", [0, 255, 237, 160, 128, 7], "none", []],
      ["k".repeat(65_535), large, "later", "\ud800b\udc00", "gone", null],
      ["without content"],
    ];
    assert.deepEqual(
      await program.reports(
        "recordBatch",
        samples.map((sample) => JSON.stringify(sample)),
      ),
      samples.map((sample) => {
        const whole = sample.length % 2 === 0 ? sample : [];
        return recordBatch(
          whole.map((each) => (Array.isArray(each) ? Buffer.from(each) : (each ?? undefined))),
        ).toString("hex");
      }),
    );
  });

  test("a batch of what cannot be written is refused", async () => {
    const refusals = ["RangeError", "RangeError", "TypeError", "TypeError", "TypeError"];
    assert.deepEqual(await program.reports("wrongBatches"), refusals);
  });

  test("a view gives its own bytes only", async () => {
    const empty = createHash("sha256").digest("hex");
    assert.deepEqual(await program.reports("views"), ["cd", "", "", empty]);
  });
});
