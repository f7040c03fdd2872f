// npm run fuzz -- [TARGET...] [--seconds N] [--seed N] [--report FILE] [--input FILE] [--replay]: fuzzes each target for so long, or shows what one input does. Without
// a name all of them, one after the other.
import { appendFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { fuzzNative, replayNative } from "./native.ts";
import { nativeTargets } from "./native-targets.ts";
import { parserTargets } from "./parsers/catalogue.ts";
import { fuzzParser, repeatParser } from "./parsers.ts";
import { type FuzzReport, reportText } from "./report.ts";

const targets = [...nativeTargets, ...parserTargets];

function usage(reason: string): never {
  const list = targets.map(({ name, what }) => `  ${name.padEnd(10)} ${what}`);
  const line =
    "usage: npm run fuzz -- [TARGET...] [--seconds N] [--seed N] [--report FILE] [--input FILE] [--replay]";
  console.error([reason, line, ...list].join("\n"));
  process.exit(2);
}

function numberOf(flag: string, value: string | undefined, otherwise: number): number {
  const number = value === undefined ? otherwise : Number(value);
  if (!Number.isSafeInteger(number) || number < 0) usage(`--${flag} ${value}: a whole number is meant`);
  return number;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string" },
    seed: { type: "string" },
    report: { type: "string" },
    input: { type: "string" },
    replay: { type: "boolean", default: false },
  },
});
const unknown = positionals.find((name) => !targets.some((each) => each.name === name));
if (unknown !== undefined) usage(`${unknown}: no such target`);
const seconds = numberOf("seconds", values.seconds, 1800);
const seed = numberOf("seed", values.seed, Date.now() % 2 ** 31);
const isWanted = ({ name }: { readonly name: string }): boolean =>
  positionals.length === 0 || positionals.includes(name);
const { input } = values;
if (input !== undefined && positionals.length !== 1) usage("--input: name its target");

let failed = false;
function show(report: FuzzReport): void {
  console.log(reportText(report));
  if (values.report !== undefined) appendFileSync(values.report, `${JSON.stringify(report)}\n`);
  failed ||= report.crashes.length > 0;
}

for (const target of nativeTargets.filter(isWanted)) {
  if (input !== undefined) show(await replayNative(target, { changed: 0, seed, input }));
  else if (values.replay) show(await replayNative(target, { changed: 10_000, seed }));
  else show(await fuzzNative(target, { seconds, seed }));
}
for (const target of parserTargets.filter(isWanted)) {
  if (input !== undefined) await repeatParser(target, input);
  else show(await fuzzParser(target, { seed, seconds, executions: Number.POSITIVE_INFINITY }, true));
}
process.exit(failed ? 1 : 0);
