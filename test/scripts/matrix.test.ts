// What the matrix makes of its runs: each test by its whole name, and what passed only when it was run once more.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, test } from "node:test";
import { promisify } from "node:util";
import { filesToRepeat, type TestResult, withRepeated } from "../../scripts/results/results.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-matrix-"));
after(() => rmSync(directory, { recursive: true }));

/** What the reporter writes of test files of these texts. */
async function reported(...texts: string[]): Promise<TestResult[]> {
  const files = texts.map((text, n) => {
    const path = join(directory, `${n}.test.mjs`);
    writeFileSync(path, `import { describe, test } from "node:test";\n${text}`);
    return path;
  });
  const lines = join(directory, "lines");
  const reporter = resolve(import.meta.dirname, "../../scripts/results/reporter.mjs");
  const args = ["--test", `--test-reporter=${reporter}`, `--test-reporter-destination=${lines}`, ...files];
  // Not as the part of this run that the runner's variable would make of it.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  await promisify(execFile)(process.execPath, args, { cwd: directory, env }).catch(() => {});
  const text = readFileSync(lines, "utf8").trim();
  const told = text.split("\n").map((line) => JSON.parse(line) as TestResult);
  return told.filter((each) => "outcome" in each);
}

test("a test is reported with what it stands in, and what stands around tests only if it says something itself", async () => {
  const results = await reported(
    `describe("one", () => { test("a", () => {}); describe("in", () => test("a", () => { throw new Error("no"); })); });
     describe("two", { skip: "not here" }, () => test("a", () => {}));
     test("a", () => {});`,
    `test("b", () => {});`,
  );
  assert.deepEqual(
    results.map(({ file, name, outcome, reason }) => [file, name, outcome, reason].join(": ")),
    [
      "0.test.mjs: one > a: passed: ",
      "0.test.mjs: one > in > a: failed: no",
      "0.test.mjs: two: skipped: not here",
      "0.test.mjs: a: passed: ",
      "1.test.mjs: b: passed: ",
    ],
  );
});

function result(file: string, name: string, reason = ""): TestResult {
  return { file, name, outcome: reason === "" ? "passed" : "failed", reason };
}

test("of equal names in one file, as of tests that several files share, the one is marked that has failed", () => {
  const files = ["one.test.ts", "two.test.ts"];
  const first = [result("shared.ts", "end", "slow"), result("shared.ts", "end"), result("one.test.ts", "x")];
  const again = filesToRepeat(first, files);
  assert.deepEqual(again, files);
  const second = first.map(({ file, name }) => result(file, name));
  const marked = withRepeated(first, again, second).map(({ again }) => again ?? false);
  assert.deepEqual(marked, [true, false, false]);
});

test("only the files in which something has failed are run once more, and what failed twice is red", () => {
  const first = [
    result("one.test.ts", "a", "no"),
    result("one.test.ts", "b", "no"),
    result("two.test.ts", "a"),
  ];
  const again = filesToRepeat(first, ["one.test.ts", "two.test.ts"]);
  assert.deepEqual(again, ["one.test.ts"]);
  const second = [result("one.test.ts", "a"), result("one.test.ts", "b", "still")];
  assert.deepEqual(withRepeated(first, again, second), [
    result("two.test.ts", "a"),
    { ...result("one.test.ts", "a"), again: true, reason: "no" },
    result("one.test.ts", "b", "still"),
  ]);
});

test("a file that failed as a whole is spoken of when it passes, and a test that did not come to run again is red", () => {
  const first = [result("one.test.ts", "the file as a whole", "hook"), result("two.test.ts", "a", "no")];
  const second = [result("one.test.ts", "a"), result("two.test.ts", "the file as a whole", "died")];
  assert.deepEqual(withRepeated(first, ["one.test.ts", "two.test.ts"], second), [
    ...second,
    { ...result("one.test.ts", "the file as a whole"), again: true, reason: "hook" },
    result("two.test.ts", "a", "no"),
  ]);
});
