// npm run campaign -- [NAME...] [--seed N] [--lives N] [--report FILE] [--pieces FILE]: runs campaigns at full length and says what came of it; without a
// name, all of them. With --pieces they are done in pieces that add up in the file, and go on where an earlier run ended; --sum FILE says what they come to.
// HOLDFAST_TEST_DAEMON=holdfastd has our daemon in containerd's place, HOLDFAST_TEST_RUNTIME=io.containerd.runc.v2 the Go shim in ours.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { daemonKind, runtimeName } from "../harness/runtime.ts";
import { type Campaign, CampaignRun, type Report, reportText } from "./campaign.ts";
import { campaigns } from "./catalogue.ts";
import { checkedOut } from "./commit.ts";
import { appendReport, piecesToCome, readReports, sumOf } from "./pieces.ts";

/** The tests of test/failures at their full size: no seed, and no report of their own. */
const FAILURES = "failures";

function usage(reason: string): never {
  const list = campaigns.map(({ name, what, lives }) => `  ${name.padEnd(12)} ${what} (${lives.full} lives)`);
  console.error(
    [
      reason,
      "usage: npm run campaign -- [NAME...] [--seed N] [--lives N] [--report FILE] [--pieces FILE]",
      "       npm run campaign -- --sum FILE",
      ...list,
      `  ${FAILURES.padEnd(12)} what has gone wrong elsewhere, at its full size`,
    ].join("\n"),
  );
  process.exit(2);
}

function numberOf(flag: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 0) usage(`--${flag} ${value}: a whole number is meant`);
  return number;
}

/** SIGINT ends a campaign between two lives, where it can be ended, and what was done is reported; a second one ends it there and then. */
let isStopped = false;

async function runOne(campaign: Campaign, seed: number, lives: number): Promise<Report> {
  const commit = checkedOut();
  const run = new CampaignRun(campaign.name, { seed, lives });
  const stop = (): void => {
    isStopped = true;
    run.cutShort();
  };
  process.once("SIGINT", stop);
  try {
    await campaign.run(run);
  } catch (error) {
    run.fail(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  process.off("SIGINT", stop);
  return run.report(daemonKind, runtimeName, commit);
}

function runFailures(): boolean {
  const directory = join(import.meta.dirname, "../failures");
  const files = readdirSync(directory).filter((name) => name.endsWith(".test.ts"));
  const command = [
    "--import",
    "tsx",
    "--test",
    "--test-concurrency=1",
    ...files.map((name) => join(directory, name)),
  ];
  const env = { ...process.env, HOLDFAST_CAMPAIGN: "full" };
  return spawnSync(process.execPath, command, { stdio: "inherit", env }).status === 0;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: "string" },
    lives: { type: "string" },
    report: { type: "string" },
    pieces: { type: "string" },
    sum: { type: "string" },
  },
});
const unknown = positionals.find(
  (name) => name !== FAILURES && !campaigns.some((each) => each.name === name),
);
if (unknown !== undefined) usage(`${unknown}: no such campaign`);
if (values.sum !== undefined) {
  const sums = sumOf(readReports(values.sum));
  for (const sum of sums) console.log(reportText(sum));
  process.exit(sums.some(({ failed }) => failed.length > 0) ? 1 : 0);
}
const seed = numberOf("seed", values.seed) ?? Date.now() % 2 ** 31;
const lives = numberOf("lives", values.lives);
const wanted = (name: string): boolean => positionals.length === 0 || positionals.includes(name);

let failed = false;
for (const campaign of campaigns.filter(({ name }) => wanted(name))) {
  const whole = { seed, lives: lives ?? campaign.lives.full };
  const kind = { campaign: campaign.name, daemon: daemonKind, runtime: runtimeName };
  const pieces =
    values.pieces === undefined
      ? [whole]
      : piecesToCome(readReports(values.pieces), kind, { ...whole, piece: campaign.piece });
  for (const piece of pieces) {
    if (isStopped) break;
    const report = await runOne(campaign, piece.seed, piece.lives);
    console.log(reportText(report));
    for (const file of [values.report, values.pieces]) if (file !== undefined) appendReport(file, report);
    failed ||= report.failed.length > 0;
  }
}
if (wanted(FAILURES) && !isStopped && !runFailures()) failed = true;
process.exit(failed ? 1 : 0);
