// A short run of every fuzzer of what TypeScript parses, guided as the long ones are.
import { test } from "node:test";
import { judge, seed } from "./judge.ts";
import { parserTargets } from "./parsers/catalogue.ts";
import { fuzzParser } from "./parsers.ts";

const EXECUTIONS = 1000;

for (const target of parserTargets) {
  test(`${target.name}: ${target.what}`, async (context) => {
    const limits = { seed, seconds: Number.POSITIVE_INFINITY, executions: EXECUTIONS };
    judge(context, await fuzzParser(target, limits, false), EXECUTIONS);
  });
}
