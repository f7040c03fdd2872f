// npm run fuzz -- [TARGET...] [--seconds N] [--seed N] [--report FILE] [--pieces FILE] [--input FILE] [--replay]: fuzzes each target for so long, or shows what one
// input does. Without a name all of them, one after the other. With --pieces in turns, and the time adds up over runs; SIGINT ends it behind the present turn.
// --sum FILE says what the pieces come to.
import { appendFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { fuzzNative, replayNative } from "./native.ts";
import { nativeTargets } from "./native-targets.ts";
import { parserTargets } from "./parsers/catalogue.ts";
import { fuzzParser, repeatParser } from "./parsers.ts";
import { appendPiece, nextPiece, piecesText, readPieces } from "./pieces.ts";
import { type FuzzReport, reportText } from "./report.ts";

const targets = [...nativeTargets, ...parserTargets];

function usage(reason: string): never {
  const list = targets.map(({ name, what }) => `  ${name.padEnd(10)} ${what}`);
  const line =
    "usage: npm run fuzz -- [TARGET...] [--seconds N] [--seed N] [--report FILE] [--pieces FILE] [--input FILE] [--replay]\n" +
    "       npm run fuzz -- --sum FILE";
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
    pieces: { type: "string" },
    sum: { type: "string" },
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
const { input, pieces } = values;
if (values.sum !== undefined) {
  console.log(piecesText(readPieces(values.sum)));
  process.exit(0);
}
if (input !== undefined && positionals.length !== 1) usage("--input: name its target");

let failed = false;
function show(report: FuzzReport): void {
  console.log(reportText(report));
  if (values.report !== undefined) appendFileSync(values.report, `${JSON.stringify(report)}\n`);
  failed ||= report.crashes.length > 0;
}

async function fuzz(
  name: string,
  limits: { readonly seconds: number; readonly seed: number },
): Promise<FuzzReport> {
  const native = nativeTargets.find((each) => each.name === name);
  if (native !== undefined) return fuzzNative(native, limits);
  const parser = parserTargets.find((each) => each.name === name);
  if (parser === undefined) throw new Error(`${name}: no such target`);
  return fuzzParser(parser, { ...limits, executions: Number.POSITIVE_INFINITY }, true);
}

async function fuzzInTurns(file: string): Promise<void> {
  const names = targets.filter(isWanted).map(({ name }) => name);
  let isStopped = false;
  process.once("SIGINT", () => {
    isStopped = true;
  });
  while (!isStopped) {
    const had = readPieces(file);
    const next = nextPiece(had, names, seconds);
    if (next === undefined) return;
    const report = await fuzz(next.name, { seconds: next.seconds, seed: (seed + had.length) % 2 ** 31 });
    show(report);
    appendPiece(file, report);
  }
}

async function once(): Promise<void> {
  for (const target of nativeTargets.filter(isWanted)) {
    if (input !== undefined) show(await replayNative(target, { changed: 0, seed, input }));
    else if (values.replay) show(await replayNative(target, { changed: 10_000, seed }));
    else show(await fuzz(target.name, { seconds, seed }));
  }
  for (const target of parserTargets.filter(isWanted)) {
    if (input !== undefined) await repeatParser(target, input);
    else show(await fuzz(target.name, { seconds, seed }));
  }
}

await (pieces === undefined ? once() : fuzzInTurns(pieces));
process.exit(failed ? 1 : 0);
