// Runs the fuzzers of what TypeScript parses: each in a thread of its own, so that an input on which a parser hangs is found too.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { cache } from "../../scripts/cache.ts";
import type { Limits, Outcome } from "./parsers/guided.ts";
import { filesDirectory, type ParserTarget } from "./parsers/target.ts";
import type { FuzzReport } from "./report.ts";

const checkedIn = join(import.meta.dirname, "found");
/** Of one input. */
const MOST_MS = 60_000;
/** In the memory that is shared with the thread: how many inputs there have been, and the length of the last. */
export const SHARED_HEADER = 8;
export const SHARED_BYTES: number = SHARED_HEADER + 16_384;

/** A thread does not inherit what has taught this one to read TypeScript. */
const BEGINNING = `import("tsx/esm/api").then(({ register }) => {
  register();
  return import(${JSON.stringify(new URL("./parsers/thread.ts", import.meta.url).href)});
});`;

export interface ThreadTask {
  readonly name: string;
  readonly known: readonly Uint8Array[];
  readonly limits: Limits;
  readonly shared: SharedArrayBuffer;
}

/** `goesOn`: from what earlier runs have kept below build/fuzz. */
export async function fuzzParser(target: ParserTarget, limits: Limits, goesOn: boolean): Promise<FuzzReport> {
  const corpus = join(cache, "fuzz", target.name, "corpus");
  mkdirSync(corpus, { recursive: true });
  const known = [...(goesOn ? filesIn(corpus) : []), ...filesIn(join(checkedIn, target.name))];
  const started = performance.now();
  const outcome = await inThread(target.name, known, limits);
  if (outcome.crash === undefined && goesOn) keepCorpus(corpus, outcome.corpus);
  return {
    target: target.name,
    by: "V8's counters",
    seed: limits.seed,
    seconds: Math.round((performance.now() - started) / 1000),
    executions: outcome.executions,
    coverage: `${outcome.coverage} blocks of src/`,
    corpus: outcome.corpus.length,
    crashes:
      outcome.crash === undefined
        ? []
        : [{ input: kept(target.name, outcome.crash.input), error: outcome.crash.error }],
  };
}

/** Runs the target on one input in this thread. Rejects with what is wrong. */
export async function repeatParser(target: ParserTarget, input: string): Promise<void> {
  await target.run(readFileSync(input));
}

async function inThread(name: string, known: readonly Uint8Array[], limits: Limits): Promise<Outcome> {
  const shared = new SharedArrayBuffer(SHARED_BYTES);
  const task: ThreadTask = { name, known, limits, shared };
  const worker = new Worker(BEGINNING, { eval: true, workerData: task });
  const view = new Int32Array(shared, 0, 2);
  let seen = -1;
  let hangs: (outcome: Outcome) => void = () => {};
  const hung = new Promise<Outcome>((resolve) => {
    hangs = resolve;
  });
  const timer = setInterval(() => {
    const executions = Atomics.load(view, 0);
    if (executions === seen && executions > 0) {
      const input = Uint8Array.from(new Uint8Array(shared, SHARED_HEADER, Atomics.load(view, 1)));
      hangs({ executions, coverage: 0, corpus: [], crash: { input, error: `no end within ${MOST_MS} ms` } });
    }
    seen = executions;
  }, MOST_MS);
  try {
    const ended = new Promise<Outcome>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
    return await Promise.race([ended, hung]);
  } finally {
    clearInterval(timer);
    await worker.terminate();
    rmSync(filesDirectory(), { recursive: true, force: true });
  }
}

function filesIn(directory: string): Uint8Array[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory).map((name) => readFileSync(join(directory, name)));
}

/** What reaches nothing of its own any more is not kept. */
function keepCorpus(directory: string, inputs: readonly Uint8Array[]): void {
  const names = new Map(inputs.map((input) => [createHash("sha1").update(input).digest("hex"), input]));
  for (const name of readdirSync(directory)) if (!names.has(name)) rmSync(join(directory, name));
  for (const [name, input] of names) writeFileSync(join(directory, name), input);
}

function kept(target: string, input: Uint8Array): string {
  const directory = join(cache, "fuzz", target, "found");
  mkdirSync(directory, { recursive: true });
  const path = join(directory, `crash-${createHash("sha1").update(input).digest("hex")}`);
  writeFileSync(path, input);
  return path;
}
