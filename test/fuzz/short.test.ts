// A short run of every fuzzer. What C parses is replayed here, and changed blindly, by the build of gcc's sanitizers: clang, which guides the long runs, is half a
// gigabyte, and on the set-up list of the fuzzers alone. What TypeScript parses is guided here too.
import assert from "node:assert/strict";
import { test } from "node:test";
import { replayNative } from "./native.ts";
import { nativeTargets } from "./native-targets.ts";
import { parserTargets } from "./parsers/catalogue.ts";
import { fuzzParser } from "./parsers.ts";
import { type FuzzReport, reportText } from "./report.ts";

const seed = Number(process.env.HOLDFAST_SEED ?? 11);
/** Changed inputs of each target; as many as are done, however long that takes. */
const CHANGED = 2000;

function judge(report: FuzzReport, least: number): void {
  assert.deepEqual(report.crashes, [], reportText(report));
  assert.ok(report.executions >= least, reportText(report));
}

for (const target of nativeTargets) {
  test(`${target.name}: ${target.what} (replayed)`, async (context) => {
    const report = await replayNative(target, { changed: CHANGED, seed });
    context.diagnostic(reportText(report));
    judge(report, CHANGED + target.seeds().size);
  });
}

for (const target of parserTargets) {
  test(`${target.name}: ${target.what}`, async (context) => {
    const report = await fuzzParser(
      target,
      { seed, seconds: Number.POSITIVE_INFINITY, executions: CHANGED },
      false,
    );
    context.diagnostic(reportText(report));
    judge(report, CHANGED);
  });
}
