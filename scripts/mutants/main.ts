// npm run mutants: puts faults into a copy of the tree, one at a time, and demands that a test fails for each (test/mutants). `-- --check` only looks
// whether each still applies; `-- --only WORD` (also several) takes those whose description or file has the word; `-- --sample N --seed S` takes N of
// them by chance; `-- --report FILE` writes a line for each as it is known.
import { appendFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import type { Mutant } from "../../test/mutants/mutant.ts";
import { misfit, readMutants, sample } from "./choose.ts";
import { inTree, type Tree } from "./tree.ts";
import { type Outcome, runTests } from "./verdict.ts";

/** Of the mutants that are not explained, how many must be caught. */
const GOAL = 0.95;

type Verdict = "caught" | "SURVIVED" | "OUT OF TIME" | "explained" | "does not build" | "fails anyway";

interface Result {
  readonly mutant: Mutant;
  readonly verdict: Verdict;
  /** The test that noticed, or the reason. */
  readonly by: string;
  readonly seconds: number;
}

/** The tests of all mutants without any fault, those of a file together and once: what one says that fails anyway is worth nothing. */
class Baseline {
  readonly #tree: Tree;
  readonly #mutants: readonly Mutant[];
  readonly #known = new Map<string, Promise<Outcome>>();

  constructor(tree: Tree, mutants: readonly Mutant[]) {
    this.#tree = tree;
    this.#mutants = mutants;
  }

  async passes(file: string, { name, env, tests }: Mutant): Promise<boolean> {
    const own = file === tests[0] && name !== undefined ? [name] : [];
    const first = this.#mutants.filter(
      (other) => other.tests[0] === file && JSON.stringify(other.env) === JSON.stringify(env),
    );
    const names = new Set(first.map((other) => other.name));
    const all =
      own.length === 0 || names.has(undefined) ? [] : [...names].filter((each) => each !== undefined);
    if ((await this.#run(file, all, env)) === "passed") return true;
    // Another one's test may be the one that fails.
    return (await this.#run(file, own, env)) === "passed";
  }

  #run(file: string, names: readonly string[], env: Mutant["env"]): Promise<Outcome> {
    const key = JSON.stringify([file, names, env]);
    const known = this.#known.get(key) ?? runTests(this.#tree, file, names, env);
    this.#known.set(key, known);
    return known;
  }
}

async function tryMutant(tree: Tree, baseline: Baseline, mutant: Mutant): Promise<[Verdict, string]> {
  if (mutant.explained !== undefined) return ["explained", mutant.explained];
  let late = "";
  const names = mutant.name === undefined ? [] : [mutant.name];
  const taken = await tree.put(mutant);
  try {
    if (!taken) return ["does not build", ""];
    for (const test of mutant.tests) {
      // A title is the first file's.
      const outcome = await runTests(tree, test, test === mutant.tests[0] ? names : [], mutant.env);
      if (outcome === "ran nothing") return ["fails anyway", test];
      if (outcome === "out of time" && mutant.hangs === undefined) late = test;
      else if (outcome !== "passed") return await confirm(test);
    }
  } finally {
    tree.restore(mutant);
  }
  return late === "" ? ["SURVIVED", ""] : ["OUT OF TIME", late];

  /** A failure counts if the same test passes without the fault. */
  async function confirm(test: string): Promise<[Verdict, string]> {
    tree.restore(mutant);
    return (await baseline.passes(test, mutant)) ? ["caught", test] : ["fails anyway", test];
  }
}

async function campaign(mutants: readonly Mutant[], report: string | undefined): Promise<number> {
  if (report !== undefined) writeFileSync(report, "");
  const results: Result[] = [];
  await inTree(async (tree) => {
    const baseline = new Baseline(tree, mutants);
    for (const mutant of mutants) {
      const started = performance.now();
      const [verdict, by] = await tryMutant(tree, baseline, mutant);
      const seconds = Math.round((performance.now() - started) / 1000);
      results.push({ mutant, verdict, by, seconds });
      const line = `${verdict.padEnd(14)} ${String(seconds).padStart(4)} s  ${mutant.file}: ${mutant.what}${by === "" ? "" : ` (${by})`}`;
      console.log(line);
      if (report !== undefined) appendFileSync(report, `${line}\n`);
    }
  });
  const summary = summarize(results);
  console.log(summary.text);
  if (report !== undefined) appendFileSync(report, `${summary.text}\n`);
  return summary.good ? 0 : 1;
}

/** src/NAME, cmd, native and so on: what a line of the table is about. */
const folderOf = (file: string): string =>
  file
    .split("/")
    .slice(0, file.startsWith("src/") ? 2 : 1)
    .join("/");

function summarize(results: readonly Result[]): { text: string; good: boolean } {
  const count = (of: readonly Result[], verdict: Verdict): number =>
    of.filter((result) => result.verdict === verdict).length;
  const row = (name: string, of: readonly Result[]): string => {
    const explained = count(of, "explained");
    return `${name.padEnd(16)}${[
      of.length,
      count(of, "caught"),
      explained,
      of.length - explained - count(of, "caught"),
    ]
      .map((figure) => String(figure).padStart(11))
      .join("")}`;
  };
  const folders = [...new Set(results.map(({ mutant }) => folderOf(mutant.file)))].sort();
  const judged = results.length - count(results, "explained");
  const share = judged === 0 ? 1 : count(results, "caught") / judged;
  const broken = count(results, "does not build") + count(results, "fails anyway");
  const table = [
    `\n${"".padEnd(16)}${["mutants", "caught", "explained", "not caught"].map((word) => word.padStart(11)).join("")}`,
    ...folders.map((folder) =>
      row(
        folder,
        results.filter(({ mutant }) => folderOf(mutant.file) === folder),
      ),
    ),
    row("all", results),
    `${(share * 100).toFixed(1)} % of ${judged} caught`,
  ];
  return { text: table.join("\n"), good: share >= GOAL && broken === 0 };
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      check: { type: "boolean", default: false },
      only: { type: "string", multiple: true },
      sample: { type: "string" },
      seed: { type: "string" },
      report: { type: "string" },
    },
  });
  const all = await readMutants();
  const misfits = all.flatMap((mutant) =>
    misfit(mutant).map((why) => `${mutant.file}: ${mutant.what}: ${why}`),
  );
  for (const line of misfits) console.error(line);
  if (values.check || misfits.length > 0) {
    console.log(`${all.length} mutants, ${misfits.length} that do not apply`);
    return misfits.length === 0 ? 0 : 1;
  }
  const words = values.only ?? [""];
  const chosen = all.filter(({ what, file }) =>
    words.some((word) => what.includes(word) || file.includes(word)),
  );
  if (values.sample === undefined) return campaign(chosen, values.report);
  const seed = Number(values.seed ?? Date.now() % 100_000);
  console.log(`--sample ${values.sample} --seed ${seed}`);
  return campaign(sample(chosen, Number(values.sample), seed), values.report);
}

process.exit(await main());
