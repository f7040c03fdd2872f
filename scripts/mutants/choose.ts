// The mutants that there are, whether each still applies, and a few of them by chance. Called by main.ts.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Mutant } from "../../test/mutants/mutant.ts";
import { root } from "../cache.ts";

export async function readMutants(): Promise<Mutant[]> {
  const directory = join(root, "test/mutants");
  const found: Mutant[] = [];
  for (const name of readdirSync(directory).sort()) {
    if (name === "mutant.ts" || !name.endsWith(".ts")) continue;
    const { mutants } = (await import(join(directory, name))) as { mutants: readonly Mutant[] };
    found.push(...mutants);
  }
  return found;
}

/** Where `text` stands in `source`; how lines are broken and indented does not count, as the formatter may do that anew. */
export function placesOf(source: string, text: string): { start: number; end: number }[] {
  const words = text
    .trim()
    .split(/\s+/)
    .map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const found = source.matchAll(new RegExp(words.join("\\s+"), "g"));
  return [...found].map((match) => ({ start: match.index, end: match.index + match[0].length }));
}

/** The source with the fault in it. */
export function withFault(source: string, { text, replacement }: Mutant): string {
  const [place] = placesOf(source, text);
  if (place === undefined) throw new Error(`not there: ${text}`);
  return source.slice(0, place.start) + replacement + source.slice(place.end);
}

/** The first argument of a call: a test's title. */
const TITLE = /\w\(\s*(?:"[^"\n]*"|`[^`]*`|'[^'\n]*')/g;

/** Why a mutant cannot be put in, or its tests not be run; nothing if both can. */
export function misfit({ file, text, replacement, tests, name }: Mutant): string[] {
  const source = read(file);
  if (source === undefined) return ["its file is not there"];
  const faults: string[] = [];
  const places = placesOf(source, text).length;
  if (places !== 1) faults.push(`its text stands ${places} times in the file: ${text}`);
  if (name?.includes("${")) faults.push(`a title has no placeholders when it runs: ${name}`);
  if (text === replacement) faults.push("changes nothing");
  if (tests.length === 0) faults.push("names no test");
  for (const test of tests) if (read(test) === undefined) faults.push(`${test} is not there`);
  const titles = (read(tests[0] ?? "") ?? "").matchAll(TITLE);
  if (name !== undefined && ![...titles].some(([title]) => title.includes(name)))
    faults.push(`${tests[0]} has no test with this in its title: ${name}`);
  return faults;
}

function read(file: string): string | undefined {
  try {
    return readFileSync(join(root, file), "utf8");
  } catch {
    return undefined;
  }
}

/** `count` of them, the same ones for the same seed. */
export function sample(mutants: readonly Mutant[], count: number, seed: number): Mutant[] {
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
