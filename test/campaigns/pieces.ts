// A long campaign in pieces that add up: each piece has a seed of its own and a line in a file, and who begins again goes on behind the last line. Used by main.ts.
import { appendJsonLine, readJsonLines } from "../harness/json-lines.ts";
import type { Report } from "./campaign.ts";

/** Lives of a piece: its daemon and its directory are its own, and so is the look for what is left. */
export const PIECE = 250;

/** The reports in a file, one a line. */
export function readReports(file: string): Report[] {
  return readJsonLines<Report>(file);
}

export function appendReport(file: string, report: Report): void {
  appendJsonLine(file, report);
}

type Kind = Pick<Report, "campaign" | "daemon" | "runtime">;

function isOf(report: Report, { campaign, daemon, runtime }: Kind): boolean {
  return report.campaign === campaign && report.daemon === daemon && report.runtime === runtime;
}

/** The pieces that a campaign still needs, with the seeds that come behind those it has had. */
export function piecesToCome(
  reports: readonly Report[],
  kind: Kind,
  { seed, lives, piece = PIECE }: { seed: number; lives: number; piece?: number | undefined },
): { seed: number; lives: number }[] {
  const had = reports.filter((report) => isOf(report, kind));
  const pieces: { seed: number; lives: number }[] = [];
  let next = had.reduce((last, report) => Math.max(last, report.seed + 1), seed);
  for (let left = lives - had.reduce((sum, report) => sum + report.lives, 0); left > 0; left -= piece) {
    pieces.push({ seed: next++, lives: Math.min(left, piece) });
  }
  return pieces;
}

/** All that the pieces of each kind come to, as one report. */
export function sumOf(reports: readonly Report[]): Report[] {
  const sums: Report[] = [];
  for (const report of reports) {
    const at = sums.findIndex((sum) => isOf(sum, report));
    const sum = sums[at];
    if (sum === undefined) sums.push({ ...report, repeat: "each line of the file has its own" });
    else {
      sums[at] = {
        ...sum,
        lives: sum.lives + report.lives,
        seconds: Math.round((sum.seconds + report.seconds) * 10) / 10,
        commits: added(sum.commits ?? {}, report.commits ?? {}),
        did: added(sum.did, report.did),
        checked: added(sum.checked, report.checked),
        failed: [...sum.failed, ...report.failed.map((text) => `seed ${report.seed}: ${text}`)],
      };
    }
  }
  return sums;
}

function added(
  one: Readonly<Record<string, number>>,
  other: Readonly<Record<string, number>>,
): Record<string, number> {
  const all: Record<string, number> = { ...one };
  for (const [what, count] of Object.entries(other)) all[what] = (all[what] ?? 0) + count;
  return all;
}
