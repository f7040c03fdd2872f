// The names of containerd's own identifier tests, and what must hold of every name that passes.
import assert from "node:assert/strict";
import { basename, join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { validateIdentifier, validateLabels } from "../../src/manager/server/identifiers.ts";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";

const GOOD = [
  "default",
  "Default",
  "default-default",
  "containerd.io",
  "swarmkit.docker.io",
  "0912341234",
  "task.0.0123456789",
  "container.system-75-f19a.00",
  "underscores_are_allowed",
  "a".repeat(76),
];
const BAD = [
  "",
  ".",
  "..",
  ".foo..foo",
  "foo/foo",
  "foo/..",
  "foo..foo",
  "foo.-boo",
  "-foo.boo",
  "foo.boo-",
  "but__only_tasteful_underscores",
  "zn--e9.org",
  "default--default",
  "a b",
  "a\n",
  "a\0b",
  "naïve",
  "a".repeat(77),
];

function refusal(run: () => void): TtrpcError {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof TtrpcError, String(error));
    assert.equal(error.code, Code.INVALID_ARGUMENT);
    return error;
  }
  return assert.fail("was taken");
}

for (const id of GOOD) test(`${JSON.stringify(id)} names a container`, () => validateIdentifier("", id));

for (const id of BAD) {
  test(`${JSON.stringify(id)} names nothing`, () => {
    refusal(() => validateIdentifier("", id));
  });
}

test("the error says what was wrong with which name of what", () => {
  const text = (id: string): string =>
    refusal(() => validateIdentifier("container.ID", id)).rawMessage.slice(0, 60);
  assert.match(text("a b"), /^container\.ID: identifier "a b" must match \^\[A-Za-z0-9\]\+/);
  assert.match(text(""), /^container\.ID: identifier must not be empty/);
  assert.match(refusal(() => validateIdentifier("", "a b")).rawMessage, /^identifier "a b" must match/);
  assert.match(refusal(() => validateIdentifier("", "a".repeat(77))).rawMessage, /maximum length \(76 /);
});

test("a name that passes is one component of a path, whatever it is made of", () => {
  const part = fc.constantFrom("a", "Z", "0", ".", "-", "_", "/", " ", "é", "\0", "\n");
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
      const id = parts.join("");
      let passes = true;
      try {
        validateIdentifier("", id);
      } catch {
        passes = false;
      }
      if (passes) assert.equal(basename(join("/run/holdfast", id)), id);
      assert.equal(
        passes,
        id
          .replaceAll("-", ".")
          .replaceAll("_", ".")
          .split(".")
          .every((word) => /^[aZ0]+$/.test(word)),
      );
    }),
  );
});

test("a label may have 4096 bytes, its key and value together", () => {
  validateLabels("container.Labels", { a: "", ["k".repeat(96)]: "v".repeat(4000) });
  const { rawMessage } = refusal(() =>
    validateLabels("container.Labels", { fine: "yes", ["k".repeat(97)]: "v".repeat(4000) }),
  );
  assert.match(rawMessage, /^container\.Labels: label key and value .*\(4096 bytes\), key: kkkkkkkkkk: /);
});

test("labels are measured in bytes of UTF-8", () => {
  validateLabels("", { k: "é".repeat(2047) });
  const { rawMessage } = refusal(() => validateLabels("", { k: "é".repeat(2048) }));
  assert.match(rawMessage, /^label key and value/);
});
