// A long run of the fuzzers in pieces that add up: each piece is a line in a file, the target that has had the least goes next, and what a piece has found to
// reach something new is where the next one begins. Used by main.ts.
import { checkedOut } from "../campaigns/commit.ts";
import { appendJsonLine, readJsonLines } from "../harness/json-lines.ts";
import type { FuzzReport } from "./report.ts";

/** Seconds of a piece, at most. */
export const PIECE = 120;

export interface FuzzPiece extends FuzzReport {
  readonly commit: string;
}

export function readPieces(file: string): FuzzPiece[] {
  return readJsonLines<FuzzPiece>(file);
}

export function appendPiece(file: string, report: FuzzReport): void {
  appendJsonLine(file, { ...report, commit: checkedOut() });
}

/** The next target, with how long it still needs; undefined when each has had its seconds. */
export function nextPiece(
  pieces: readonly FuzzPiece[],
  names: readonly string[],
  seconds: number,
): { name: string; seconds: number } | undefined {
  const had = (name: string): number =>
    pieces.filter(({ target }) => target === name).reduce((sum, piece) => sum + piece.seconds, 0);
  const [least] = names
    .map((name) => ({ name, left: seconds - had(name) }))
    .filter(({ left }) => left > 0)
    .sort((a, b) => b.left - a.left);
  return least && { name: least.name, seconds: Math.min(least.left, PIECE) };
}

/** What the pieces of each target come to: a line each, as a table. */
export function piecesText(pieces: readonly FuzzPiece[]): string {
  const names = [...new Set(pieces.map(({ target }) => target))];
  const rows = names.map((name) => {
    const own = pieces.filter(({ target }) => target === name);
    const sum = (of: (piece: FuzzPiece) => number): number =>
      own.reduce((total, piece) => total + of(piece), 0);
    const commits = [...new Set(own.map(({ commit }) => commit))].join(", ");
    const last = own.at(-1);
    return [
      name,
      sum(({ seconds }) => seconds),
      sum(({ executions }) => executions),
      last?.coverage ?? "",
      last?.corpus ?? 0,
      sum(({ crashes }) => crashes.length),
      commits,
    ];
  });
  const head = ["target", "seconds", "executions", "coverage", "corpus", "crashes", "commits"];
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}
