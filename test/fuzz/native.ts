// Builds and runs the fuzzers of what C parses: with clang's libFuzzer, guided by coverage, or with gcc, which replays inputs and blind changes of them.
// AddressSanitizer and UBSan are in both.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cache, cached, hashOf, native, run } from "../../scripts/cache.ts";
import {
  compileEngine,
  compileObject,
  engineFiles,
  hostFlags,
  quickjs,
  sanitized,
  unpackLibraries,
  type Variant,
} from "../../scripts/compile-c.ts";
import { instrumentedLibarchive } from "./libarchive.ts";
import type { NativeTarget } from "./native-targets.ts";
import type { FuzzReport } from "./report.ts";

const harnesses = join(import.meta.dirname, "native");
/** What has once been found, or must be tried always. */
const checkedIn = join(import.meta.dirname, "found");
const MOST_BYTES = 16_384;
/** Of one input, in seconds by the clock on the wall, and of the process, in MB. */
const MOST_TIME = 60;
const MOST_MEMORY = 3000;

/** What is found in the depths of libarchive is meant to be seen; what its authors do on purpose is not: shifts into the sign. */
const guided: Variant = {
  compiler: "clang",
  compile: [
    "-O1",
    "-g1",
    "-fno-omit-frame-pointer",
    "-fsanitize=fuzzer-no-link,address,undefined",
    "-fno-sanitize=shift-base",
    "-fno-sanitize-recover=all",
  ],
  link: ["-fsanitize=fuzzer,address,undefined"],
};

export interface NativeRun {
  readonly seconds: number;
  readonly seed: number;
}

/** Runs libFuzzer on the target, from its seeds and what earlier runs have kept below build/fuzz. */
export async function fuzzNative(target: NativeTarget, { seconds, seed }: NativeRun): Promise<FuzzReport> {
  const program = await build(target, guided);
  const { corpus, found, inputs } = places(target);
  const words = join(cache, "fuzz", target.name, "words");
  writeFileSync(words, dictionary(target.words));
  const before = new Set(readdirSync(found));
  const args = [
    `-max_total_time=${seconds}`,
    `-seed=${seed}`,
    `-max_len=${MOST_BYTES}`,
    `-timeout=${MOST_TIME}`,
    `-rss_limit_mb=${MOST_MEMORY}`,
    ...(target.words.length > 0 ? [`-dict=${words}`] : []),
    `-artifact_prefix=${found}/`,
    "-detect_leaks=0",
    "-print_final_stats=1",
    "-verbosity=1",
    corpus,
    inputs,
    ...regressions(target),
  ];
  const started = performance.now();
  const last = join(found, `last-${process.pid}`);
  const { status, said } = await execute(program, args, last);
  const shown = existsSync(last) ? readFileSync(last) : undefined;
  rmSync(last, { force: true });
  const crashes = readdirSync(found)
    // libFuzzer also leaves inputs that took long, which on a busy machine any may; and another run may have its last input there.
    .filter((name) => !before.has(name) && !/^(slow-unit|last)-/.test(name))
    .map((name) => ({ input: join(found, name), error: errorIn(said) }));
  // In another root it cannot leave its input by itself.
  if (crashes.length === 0 && status !== 0)
    crashes.push({ input: shown === undefined ? "" : keep(shown, found), error: errorIn(said) });
  const counters = Number(/\((\d+) inline 8-bit counters\)/.exec(said)?.[1]);
  const covered = Number([...said.matchAll(/ cov: (\d+)/g)].at(-1)?.[1] ?? 0);
  return {
    target: target.name,
    by: "libFuzzer",
    seed,
    seconds: Math.round((performance.now() - started) / 1000),
    executions: Number(/number_of_executed_units: (\d+)/.exec(said)?.[1] ?? 0),
    coverage: `${covered} of ${counters} branches`,
    corpus: readdirSync(corpus).length,
    crashes,
  };
}

/** Runs the target on its seeds, all that was ever found, and `changed` blind changes of them. */
export async function replayNative(
  target: NativeTarget,
  { changed, seed, input }: { readonly changed: number; readonly seed: number; readonly input?: string },
): Promise<FuzzReport> {
  const program = await build(target, sanitized);
  const { found, inputs } = places(target);
  const last = join(found, `last-${process.pid}`);
  const given = input === undefined ? [inputs, ...regressions(target)] : [input];
  const started = performance.now();
  const { status, said } = await execute(program, [String(changed), String(seed), last, ...given], "");
  const shown = existsSync(last) ? readFileSync(last) : undefined;
  rmSync(last, { force: true });
  const count = Number(/replayed (\d+) inputs/.exec(said)?.[1] ?? 0);
  return {
    target: target.name,
    by: "replay",
    seed,
    seconds: Math.round((performance.now() - started) / 1000),
    executions: count + changed,
    coverage: "",
    corpus: count,
    crashes:
      status === 0 ? [] : [{ input: shown === undefined ? "" : keep(shown, found), error: errorIn(said) }],
  };
}

/** What a process has shown that it was about to run (replay.c, sandbox.c), in a file of its own. */
function keep(shown: Buffer, found: string): string {
  const bytes = shown.subarray(8, 8 + Number(shown.readBigUInt64LE(0)));
  const name = join(found, `crash-${createHash("sha1").update(bytes).digest("hex")}`);
  writeFileSync(name, bytes);
  return name;
}

/** Directories of a target below build/, made; its seeds are written anew. */
function places(target: NativeTarget): { corpus: string; found: string; inputs: string } {
  const directory = join(cache, "fuzz", target.name);
  const [corpus = "", found = "", inputs = ""] = ["corpus", "found", "seeds"].map((name) => {
    const path = join(directory, name);
    mkdirSync(path, { recursive: true });
    return path;
  });
  for (const [name, bytes] of target.seeds()) writeFileSync(join(inputs, name), bytes);
  return { corpus, found, inputs };
}

function regressions(target: NativeTarget): string[] {
  const directory = join(checkedIn, target.name);
  return existsSync(directory) ? [directory] : [];
}

function dictionary(words: readonly string[]): string {
  const quoted = (word: string): string =>
    [...Buffer.from(word)].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  return words.map((word) => `"${quoted(word)}"\n`).join("");
}

async function build(target: NativeTarget, variant: Variant): Promise<string> {
  const isGuided = variant === guided;
  const library = target.archives && isGuided ? await instrumentedLibarchive(variant) : undefined;
  const layer = join(native, "layer");
  const source = target.engine || !target.archives ? quickjs() : undefined;
  const flags = [
    ...hostFlags,
    // The sources have been through the build's own compiler; what another one says of them, or of a harness, stops nobody.
    "-Wno-error",
    ...[native, layer, harnesses].map((directory) => `-I${directory}`),
  ];
  const sources = [
    join(harnesses, `${target.name}.c`),
    ...target.harness.map((name) => join(harnesses, name)),
    ...(isGuided ? [] : [join(harnesses, "replay.c")]),
    ...target.sources.map((name) => join(native, name)),
  ];
  // Whatever one of them includes.
  const included = [
    ...readdirSync(layer).map((name) => join(layer, name)),
    ...readdirSync(harnesses).map((name) => join(harnesses, name)),
    join(native, "execution.c"),
    join(native, "keeper.c"),
  ].filter((path) => statSync(path).isFile());
  const ours = await Promise.all(
    sources.map((path) => compileObject(library?.headers ?? source ?? layer, variant, path, flags, included)),
  );
  const engine =
    target.engine && source !== undefined
      ? await Promise.all(engineFiles.map((name) => compileEngine(source, name, variant)))
      : [];
  const objects = [...ours, ...engine, ...(library === undefined ? [] : [library.library])];
  const libraries = target.archives
    ? unpackLibraries.filter((name) => library === undefined || name !== "-larchive")
    : ["-lnettle", "-lutil", "-lm"];
  const link = [...variant.link, ...target.wrapped.map((name) => `-Wl,--wrap=${name}`)];
  const compiler = variant.compiler ?? "gcc";
  return cached(
    "linked",
    `fuzz-${target.name}-${hashOf([compiler, ...link, ...objects, ...libraries])}`,
    "",
    (path) => run(compiler, [...link, "-o", path, ...objects, ...libraries]),
  );
}

/** `shown` is where a process that goes into another root shows its inputs; "" for nowhere. */
function execute(
  program: string,
  args: readonly string[],
  shown: string,
): Promise<{ status: number | null; said: string }> {
  const env = {
    ...process.env,
    ASAN_OPTIONS: "detect_leaks=0:allocator_may_return_null=1:handle_abort=1",
    UBSAN_OPTIONS: "print_stacktrace=1:halt_on_error=1",
    ...(shown !== "" && { HOLDFAST_FUZZ_SHOWN: shown }),
  };
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"], env });
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      // The beginning has how much there is to be covered, the end has the rest.
      said = said.length < 1_000_000 ? said + text : said.slice(0, 10_000) + said.slice(-500_000) + text;
    });
    child.once("error", reject);
    child.once("close", (status, signal) =>
      resolve({ status, said: signal === null ? said : `${said}ERROR: ended by ${signal}\n` }),
    );
  });
}

/** The lines that say what has happened. */
function errorIn(said: string): string {
  const lines = said.split("\n");
  const at = lines.findIndex((line) =>
    /ERROR: |runtime error: |^sandbox: |^the trees differ|^what diff/.test(line),
  );
  return lines.slice(Math.max(0, at), at + 12).join("\n");
}
