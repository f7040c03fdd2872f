// The fuzzer of parsers: changes inputs at random, and keeps those that reach code which none before has reached. Runs in a thread of its own (thread.ts).
import { mutateBytes, mutateJson } from "../../campaigns/fuzz/mutate.ts";
import { Random } from "../../campaigns/random.ts";
import { Coverage } from "./coverage.ts";
import { type ParserTarget, text, utf8 } from "./target.ts";

export interface Limits {
  readonly seed: number;
  /** Whichever comes first. */
  readonly seconds: number;
  readonly executions: number;
}

export interface Outcome {
  readonly executions: number;
  /** Blocks of src/ that have run. */
  readonly coverage: number;
  /** Inputs that were kept. */
  readonly corpus: readonly Uint8Array[];
  readonly crash: { readonly input: Uint8Array; readonly error: string } | undefined;
}

/** Inputs between two looks at the counters, which takes more than a millisecond. */
const BATCH = 200;
/** Longer ones find nothing that shorter ones do not. */
const MOST_BYTES = 8192;

/** `begin` is called before every execution with its input. */
export async function fuzz(
  target: ParserTarget,
  known: readonly Uint8Array[],
  limits: Limits,
  begin: (input: Uint8Array) => void,
): Promise<Outcome> {
  const coverage = new Coverage();
  const random = new Random(limits.seed);
  const corpus: Uint8Array[] = [];
  let executions = 0;
  let last: Uint8Array = new Uint8Array(0);
  const execute = async (input: Uint8Array): Promise<void> => {
    last = input;
    begin(input);
    executions++;
    const running = target.run(input);
    if (running !== undefined) await running;
  };
  const keep = async (inputs: readonly Uint8Array[]): Promise<void> => {
    for (const input of inputs) {
      await execute(input);
      if (coverage.add()) corpus.push(input);
    }
  };
  const outcome = (crash: Outcome["crash"]): Outcome => ({
    executions,
    coverage: coverage.size,
    corpus,
    crash,
  });
  const end = performance.now() + limits.seconds * 1000;
  try {
    const seeds = target.seeds();
    await keep([...seeds, ...known]);
    if (corpus.length === 0) corpus.push(...seeds);
    while (performance.now() < end && executions < limits.executions) {
      const inputs = Array.from({ length: BATCH }, () => change(corpus, target.words ?? [], random));
      for (const input of inputs) await execute(input);
      if (coverage.isNew()) await keep(inputs);
    }
    return outcome(undefined);
  } catch (error) {
    return outcome({
      input: last,
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
  } finally {
    coverage.close();
  }
}

/** What was found last has been tried least. */
function pick(corpus: readonly Uint8Array[], random: Random): Uint8Array {
  const from = random.chance(0.3) ? Math.floor(corpus.length * 0.8) : 0;
  return random.pick(corpus.slice(from));
}

function change(corpus: readonly Uint8Array[], words: readonly string[], random: Random): Uint8Array {
  let bytes = pick(corpus, random);
  for (let left = random.between(1, 4); left > 0; left--) {
    const kind = random.next();
    if (kind < 0.35) bytes = mutateBytes(bytes, random);
    else if (kind < 0.5) bytes = spliced(bytes, pick(corpus, random), random);
    else if (kind < 0.75 && words.length > 0) bytes = withWord(bytes, utf8(random.pick(words)), random);
    else bytes = changedJson(bytes, random);
  }
  return bytes.subarray(0, MOST_BYTES);
}

/** The beginning of one and the end of another. */
function spliced(a: Uint8Array, b: Uint8Array, random: Random): Uint8Array {
  return Buffer.concat([a.subarray(0, random.between(0, a.length)), b.subarray(random.between(0, b.length))]);
}

/** A word put in, or in the place of as many bytes. */
function withWord(bytes: Uint8Array, word: Uint8Array, random: Random): Uint8Array {
  const at = random.between(0, bytes.length);
  const from = random.chance(0.5) ? at : Math.min(bytes.length, at + word.length);
  return Buffer.concat([bytes.subarray(0, at), word, bytes.subarray(from)]);
}

/** As JSON, if it is some; else as bytes. */
function changedJson(bytes: Uint8Array, random: Random): Uint8Array {
  const first = bytes[0];
  if (first !== 0x7b && first !== 0x5b) return mutateBytes(bytes, random);
  try {
    return utf8(JSON.stringify(mutateJson(JSON.parse(text(bytes)), random)) ?? "");
  } catch {
    return mutateBytes(bytes, random);
  }
}
