// Numbers of 64 bits in JSON: what is read and written again keeps every digit.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ExactNumber, parseExact, stringifyExact } from "../../src/cli/text/exact-json.ts";

const EXACT: readonly string[] = [
  '{"hard":18446744073709551615,"soft":-9223372036854775808,"low":9007199254740993}',
  "[1.10,1e3,-0,0.1,123,-5,1E+2]",
  '{"text":"18446744073709551615","escaped":"\\"18446744073709551615\\\\","9007199254740993":"\\u0000"}',
  "9007199254740993",
  '"9007199254740993"',
  '{"__proto__":18446744073709551615}',
];
for (const text of EXACT) {
  test(`${text} is written as it was read`, () => assert.equal(stringifyExact(parseExact(text)), text));
}

test("what a number can hold is one, and integers beyond are bigints", () => {
  assert.deepEqual(parseExact("[9007199254740991,9007199254740993,1.5]"), [2 ** 53 - 1, 2n ** 53n + 1n, 1.5]);
  assert.ok(parseExact("1.10") instanceof ExactNumber);
});

for (const text of [
  "",
  "{",
  "[1,]",
  "01",
  "18446744073709551615x",
  "{18446744073709551615:1}",
  "[9007199254740993",
]) {
  test(`${JSON.stringify(text)} is no JSON, and the complaint does not speak of anything else`, () => {
    assert.throws(
      () => parseExact(text),
      (error: Error) => error instanceof SyntaxError && !error.message.includes("number-"),
    );
  });
}

test("a string of a million characters is not too long", () => {
  const long = JSON.stringify({ text: '\\"'.repeat(500_000), big: 1 }).replace(
    ":1}",
    ":18446744073709551615}",
  );
  assert.equal(stringifyExact(parseExact(long)), long);
});

test("bytes are base64, and what is undefined is null or left out", () => {
  assert.equal(stringifyExact({ a: new Uint8Array([1, 2]), b: undefined }), '{"a":"AQI="}');
  assert.equal(stringifyExact(undefined), "null");
});
