// What the short runs of the fuzzers have in common. Used by native.test.ts and parsers.test.ts.
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { type FuzzReport, reportText } from "./report.ts";

/** What is tried is the same each time, unless somebody wants something else. */
export const seed: number = Number(process.env.HOLDFAST_SEED ?? 11);

/** Shows the report, and fails on any crash, and on fewer executions than there were to be. */
export function judge(context: TestContext, report: FuzzReport, least: number): void {
  context.diagnostic(reportText(report));
  assert.deepEqual(report.crashes, [], reportText(report));
  assert.ok(report.executions >= least, reportText(report));
}
