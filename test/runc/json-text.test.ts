// A member of a JSON object is changed and every other byte stays, whatever the object holds.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { withMember } from "../../src/runc/json-text.ts";

test("numbers above 2^53, negative ones and the spacing stay as they were", () => {
  const text = '{ "a": 18446744073709551615,\n"terminal" : false , "b": [-9223372036854775808, 1e400] }';
  assert.equal(
    withMember(text, "terminal", "true"),
    '{ "a": 18446744073709551615,\n"terminal" : true , "b": [-9223372036854775808, 1e400] }',
  );
});

test("a member that is missing is added, also to an empty object", () => {
  assert.equal(withMember('{"a":1}', "terminal", "true"), '{"terminal":true,"a":1}');
  assert.equal(withMember(" { } ", "terminal", "true"), ' {"terminal":true } ');
});

test("one of the same name deeper down, or in a string, is not taken for it", () => {
  const text = '{"x":{"terminal":false},"y":"\\"terminal\\":false","z":["terminal",{"terminal":[]}]}';
  assert.equal(withMember(text, "terminal", "true"), `{"terminal":true,${text.slice(1)}`);
});

test("what stands behind an array or an object is as high up as they are", () => {
  assert.equal(
    withMember('{"a":[1,[2]],"b":{"c":[]},"terminal":false}', "terminal", "true"),
    '{"a":[1,[2]],"b":{"c":[]},"terminal":true}',
  );
});

test("every one of several is changed, and an escaped name counts", () => {
  assert.equal(
    withMember('{"terminal":{"a":[1]},"\\u0074erminal":null}', "terminal", "true"),
    '{"terminal":true,"\\u0074erminal":true}',
  );
});

test("any object comes out as JSON.parse with the member set sees it", () => {
  const json = fc.oneof(
    fc.dictionary(fc.string(), fc.jsonValue()),
    fc.record({ terminal: fc.jsonValue(), other: fc.jsonValue() }),
  );
  fc.assert(
    fc.property(json, fc.constantFrom(0, 1, "\t"), (object, indent) => {
      const text = JSON.stringify(object, undefined, indent);
      const parsed: unknown = JSON.parse(withMember(text, "terminal", "true"));
      assert.deepEqual(parsed, { ...(JSON.parse(text) as object), terminal: true });
    }),
  );
});
