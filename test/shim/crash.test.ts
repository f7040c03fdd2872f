// The text of an internal error survives in the bundle.
import assert from "node:assert/strict";
import { lstatSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Platform } from "../../src/platform/platform.ts";
import { readCrash, recordCrash } from "../../src/shim/crash.ts";

const bundle = mkdtempSync(join(tmpdir(), "holdfast-crash-"));
after(() => rmSync(bundle, { recursive: true, force: true }));

const files = {
  stat: (path: string) => {
    const found = lstatSync(path, { throwIfNoEntry: false });
    return found === undefined ? null : { kind: found.isFile() ? "file" : "directory" };
  },
  read: (path: string) => {
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      throw Object.assign(error as Error, { syscall: "open" });
    }
  },
  replace: (path: string, content: string) => writeFileSync(path, content),
};
const platform = { files } as unknown as Platform;

test("the error's words and its stack are there for whoever cleans up", () => {
  assert.equal(readCrash(platform, bundle), "");
  const error = new TypeError("not a function");
  recordCrash(platform, bundle, error);
  const text = readCrash(platform, bundle);
  assert.ok(text.startsWith("TypeError: not a function\n"));
  assert.ok(text.includes("crash.test.ts"));
});

test("what is thrown need not be an error, and a bundle that is gone makes no second one", () => {
  recordCrash(platform, bundle, "just words");
  assert.equal(readCrash(platform, bundle), "just words");
  recordCrash(platform, join(bundle, "gone"), new Error("nowhere to go"));
});
