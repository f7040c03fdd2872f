// What became of each mutant: a line each, also in a file, from which a campaign can go on; and a table at the end. Used by main.ts.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import type { Mutant } from "../../test/mutants/mutant.ts";

/** Of the mutants that are not explained, how many must be caught. */
const GOAL = 0.95;

export type Verdict = "caught" | "SURVIVED" | "OUT OF TIME" | "explained" | "does not build" | "fails anyway";

export interface Result {
  readonly mutant: Mutant;
  readonly verdict: Verdict;
  /** The test that noticed, or the reason. */
  readonly by: string;
  readonly seconds: number;
}

/** "caught  12 s  src/file.ts: what breaks (test/file.test.ts)". */
const CAUGHT = /^caught +(\d+) s {2}(.*) \((\S+)\)$/;

export class Report {
  readonly #file: string | undefined;
  /** By what they begin with in their line. */
  readonly #before = new Map<string, { by: string; seconds: number }>();

  /** Without `resume` the file begins anew. */
  constructor(file: string | undefined, resume: boolean) {
    this.#file = file;
    if (file === undefined) return;
    if (resume && existsSync(file)) this.#read(file);
    else writeFileSync(file, "");
  }

  #read(file: string): void {
    for (const line of readFileSync(file, "utf8").split("\n")) {
      const [, seconds, name, by] = CAUGHT.exec(line) ?? [];
      if (name !== undefined && by !== undefined) this.#before.set(name, { by, seconds: Number(seconds) });
    }
  }

  /** What stands there of a mutant that was caught by the test that is to notice; one that has got another test is tried again. */
  caughtBefore(mutant: Mutant): Result | undefined {
    const found = mutant.explained === undefined ? this.#before.get(nameOf(mutant)) : undefined;
    if (found === undefined || !mutant.tests.includes(found.by)) return undefined;
    return { mutant, verdict: "caught", ...found };
  }

  add({ mutant, verdict, by, seconds }: Result): void {
    const time = `${String(seconds).padStart(4)} s`;
    this.say(`${verdict.padEnd(14)} ${time}  ${nameOf(mutant)}${by === "" ? "" : ` (${by})`}`);
  }

  say(text: string): void {
    console.log(text);
    if (this.#file !== undefined) appendFileSync(this.#file, `${text}\n`);
  }
}

const nameOf = ({ file, what }: Mutant): string => `${file}: ${what}`;

/** src/NAME, cmd, native and so on: what a line of the table is about. */
const folderOf = (file: string): string =>
  file
    .split("/")
    .slice(0, file.startsWith("src/") ? 2 : 1)
    .join("/");

const COLUMNS = ["mutants", "caught", "explained", "not caught"];

export function summarize(results: readonly Result[]): { text: string; good: boolean } {
  const count = (of: readonly Result[], verdict: Verdict): number =>
    of.filter((result) => result.verdict === verdict).length;
  const row = (name: string, of: readonly Result[]): string => {
    const [caught, explained] = [count(of, "caught"), count(of, "explained")];
    const figures = [of.length, caught, explained, of.length - explained - caught];
    return `${name.padEnd(16)}${figures.map((figure) => String(figure).padStart(11)).join("")}`;
  };
  const folders = [...new Set(results.map(({ mutant }) => folderOf(mutant.file)))].sort();
  const judged = results.length - count(results, "explained");
  const share = judged === 0 ? 1 : count(results, "caught") / judged;
  const broken = count(results, "does not build") + count(results, "fails anyway");
  const ofFolder = (folder: string): Result[] =>
    results.filter(({ mutant }) => folderOf(mutant.file) === folder);
  const table = [
    `\n${"".padEnd(16)}${COLUMNS.map((word) => word.padStart(11)).join("")}`,
    ...folders.map((folder) => row(folder, ofFolder(folder))),
    row("all", results),
    `${(share * 100).toFixed(1)} % of ${judged} caught`,
  ];
  return { text: table.join("\n"), good: share >= GOAL && broken === 0 };
}
