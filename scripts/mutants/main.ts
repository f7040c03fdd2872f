// npm run mutants: puts faults into a copy of the tree, one at a time, and demands that a test fails for each (test/mutants). `-- --check` only looks
// whether each still applies; `-- --only WORD` (also several) takes those whose description or file has the word, in the order of the words; `-- --sample N --seed S` takes N of
// them by chance; `-- --report FILE` writes a line for each as it is known, and with `--resume` those that stand there as caught are not tried again.
import { parseArgs } from "node:util";
import type { Mutant } from "../../test/mutants/mutant.ts";
import { misfit, readMutants, sample } from "./choose.ts";
import { Report, type Result, summarize, type Verdict } from "./report.ts";
import { inTree, type Tree } from "./tree.ts";
import { type Outcome, runTests } from "./verdict.ts";

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

  /** The same of this one's tests alone, and now: with the machine as busy as it was for the fault. */
  async passesNow(file: string, { name, env, tests }: Mutant): Promise<boolean> {
    const names = file === tests[0] && name !== undefined ? [name] : [];
    return (await runTests(this.#tree, file, names, env)) === "passed";
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
      else if (outcome !== "passed") return await confirm(test, outcome);
    }
  } finally {
    tree.restore(mutant);
  }
  return late === "" ? ["SURVIVED", ""] : ["OUT OF TIME", late];

  /** A failure counts if the same test passes without the fault. */
  async function confirm(test: string, outcome: Outcome): Promise<[Verdict, string]> {
    tree.restore(mutant);
    const isFault =
      outcome === "failed" ? await baseline.passes(test, mutant) : await baseline.passesNow(test, mutant);
    return isFault ? ["caught", test] : ["fails anyway", test];
  }
}

async function campaign(mutants: readonly Mutant[], report: Report): Promise<number> {
  const results: Result[] = mutants.flatMap((mutant) => report.caughtBefore(mutant) ?? []);
  const left = mutants.filter((mutant) => report.caughtBefore(mutant) === undefined);
  if (results.length > 0) console.log(`${results.length} stand in the report as caught`);
  if (left.length > 0) {
    await inTree(async (tree) => {
      const baseline = new Baseline(tree, mutants);
      for (const mutant of left) {
        const started = performance.now();
        const [verdict, by] = await tryMutant(tree, baseline, mutant);
        const seconds = Math.round((performance.now() - started) / 1000);
        const result = { mutant, verdict, by, seconds };
        results.push(result);
        report.add(result);
      }
    });
  }
  const summary = summarize(results);
  report.say(summary.text);
  return summary.good ? 0 : 1;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      check: { type: "boolean", default: false },
      only: { type: "string", multiple: true },
      sample: { type: "string" },
      seed: { type: "string" },
      report: { type: "string" },
      resume: { type: "boolean", default: false },
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
  const of = (word: string): Mutant[] =>
    all.filter(({ what, file }) => what.includes(word) || file.includes(word));
  const chosen = [...new Set(words.flatMap(of))];
  const report = new Report(values.report, values.resume);
  if (values.sample === undefined) return campaign(chosen, report);
  const seed = Number(values.seed ?? Date.now() % 100_000);
  console.log(`--sample ${values.sample} --seed ${seed}`);
  return campaign(sample(chosen, Number(values.sample), seed), report);
}

process.exit(await main());
