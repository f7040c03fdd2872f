// npm run mutants: puts faults into a copy of the tree, one at a time, and demands that a test fails for each (test/mutants). `-- --check` only looks
// whether each still applies; `-- --only WORD` takes those whose description or file has the word; `-- --sample N --seed S` takes N of them by chance.
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Mutant } from "../test/mutants/mutant.ts";
import { root } from "./cache.ts";

/** Of the mutants that are not explained, how many must be caught. */
const GOAL = 0.95;
const TEST_TIMEOUT_MS = 180_000;

type Verdict = "caught" | "SURVIVED" | "explained" | "does not build";

async function readMutants(): Promise<Mutant[]> {
  const directory = join(root, "test/mutants");
  const found: Mutant[] = [];
  for (const name of readdirSync(directory).sort()) {
    if (name === "mutant.ts") continue;
    const { mutants } = (await import(join(directory, name))) as { mutants: readonly Mutant[] };
    found.push(...mutants);
  }
  return found;
}

/** Why a mutant cannot be put in; undefined if it can. */
function misfit({ file, text, replacement, tests }: Mutant): string | undefined {
  let source: string;
  try {
    source = readFileSync(join(root, file), "utf8");
    for (const test of tests) readFileSync(join(root, test));
  } catch (error) {
    return (error as Error).message;
  }
  if (text === replacement) return "changes nothing";
  const places = source.split(text).length - 1;
  return places === 1 ? undefined : `its text stands ${places} times in ${file}`;
}

/** The tracked files in a directory of their own, with the packages and what was built of the real tree. */
function copyTree(): string {
  const tree = mkdtempSync(join(tmpdir(), "holdfast-mutants-"));
  const files = spawnSync("git", ["ls-files", "-co", "--exclude-standard"], { cwd: root, encoding: "utf8" });
  for (const file of files.stdout.trim().split("\n")) cpSync(join(root, file), join(tree, file));
  for (const shared of ["node_modules", "build"]) symlinkSync(join(root, shared), join(tree, shared));
  return tree;
}

function node(tree: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): boolean {
  const { status } = spawnSync("node", ["--import", "tsx", ...args], {
    cwd: tree,
    env: { ...process.env, ...env },
    stdio: "ignore",
    timeout: 2 * TEST_TIMEOUT_MS,
  });
  return status === 0;
}

const build = (tree: string): boolean => node(tree, ["scripts/build.ts"]);
const passes = (tree: string, test: string, env?: Readonly<Record<string, string>>): boolean =>
  node(tree, ["--test", `--test-timeout=${TEST_TIMEOUT_MS}`, test], env);

/** Whether the tests notice, the first that does. The tree is as it was when this returns. */
function tryMutant(tree: string, mutant: Mutant): [Verdict, by: string] {
  if (mutant.explained !== undefined) return ["explained", mutant.explained];
  const path = join(tree, mutant.file);
  const source = readFileSync(path, "utf8");
  writeFileSync(
    path,
    source.replace(mutant.text, () => mutant.replacement),
  );
  try {
    if (!build(tree)) return ["does not build", ""];
    const by = mutant.tests.find((test) => !passes(tree, test, mutant.env));
    return by === undefined ? ["SURVIVED", ""] : ["caught", by];
  } finally {
    writeFileSync(path, source);
  }
}

/** The tests that fail without any fault: what they say of a mutant is worth nothing. */
function failsAnyway(tree: string, mutants: readonly Mutant[]): string[] {
  const runs = new Map<string, Mutant>();
  for (const mutant of mutants) {
    for (const test of mutant.tests) runs.set(`${test} ${JSON.stringify(mutant.env ?? {})}`, mutant);
  }
  return [...runs]
    .filter(([run, { env }]) => !passes(tree, run.split(" ")[0] ?? "", env))
    .map(([run]) => run);
}

/** `count` of them, the same ones for the same seed. */
function sample(mutants: readonly Mutant[], count: number, seed: number): Mutant[] {
  let state = seed >>> 0;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
  return mutants
    .map((mutant) => ({ mutant, rank: random() }))
    .sort((a, b) => a.rank - b.rank)
    .slice(0, count)
    .map(({ mutant }) => mutant);
}

function campaign(mutants: readonly Mutant[]): number {
  const tree = copyTree();
  try {
    if (!build(tree)) throw new Error("the tree does not build without a fault");
    const red = failsAnyway(tree, mutants);
    for (const test of red) console.log(`fails without a fault: ${test}`);
    const counts = new Map<Verdict, number>();
    for (const mutant of mutants) {
      const [verdict, by] = tryMutant(tree, mutant);
      counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
      console.log(`${verdict.padEnd(14)}  ${mutant.file}: ${mutant.what}${by === "" ? "" : ` (${by})`}`);
    }
    const count = (verdict: Verdict): number => counts.get(verdict) ?? 0;
    const judged = mutants.length - count("explained");
    const share = judged === 0 ? 1 : count("caught") / judged;
    console.log(
      `\n${mutants.length} mutants: ${count("caught")} of ${judged} caught (${(share * 100).toFixed(1)} %), ` +
        `${count("explained")} explained, ${count("does not build")} that do not build`,
    );
    return red.length > 0 || share < GOAL || count("does not build") > 0 ? 1 : 0;
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      check: { type: "boolean", default: false },
      only: { type: "string" },
      sample: { type: "string" },
      seed: { type: "string" },
    },
  });
  const all = await readMutants();
  const misfits = all
    .map((mutant) => ({ mutant, why: misfit(mutant) }))
    .filter(({ why }) => why !== undefined);
  for (const { mutant, why } of misfits)
    console.error(`${mutant.file}: ${mutant.what}: does not apply: ${why}`);
  if (values.check || misfits.length > 0) {
    console.log(`${all.length} mutants, ${misfits.length} that do not apply`);
    return misfits.length === 0 ? 0 : 1;
  }
  const word = values.only ?? "";
  const chosen = all.filter(({ what, file }) => what.includes(word) || file.includes(word));
  const seed = Number(values.seed ?? Date.now() % 100_000);
  if (values.sample === undefined) return campaign(chosen);
  console.log(`--sample ${values.sample} --seed ${seed}`);
  return campaign(sample(chosen, Number(values.sample), seed));
}

process.exit(await main());
