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

/** Why a mutant cannot be put in, or its tests not be run; nothing if both can. */
export function misfit({ file, text, replacement, tests, name }: Mutant): string[] {
  const source = read(file);
  if (source === undefined) return ["its file is not there"];
  const faults: string[] = [];
  const places = source.split(text).length - 1;
  if (places !== 1) faults.push(`its text stands ${places} times in the file: ${text}`);
  if (text.includes("\n")) faults.push("its text is on more than one line");
  if (text === replacement) faults.push("changes nothing");
  if (tests.length === 0) faults.push("names no test");
  for (const test of tests) if (read(test) === undefined) faults.push(`${test} is not there`);
  const titles = read(tests[0] ?? "");
  if (name !== undefined && titles?.includes(name) === false)
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
