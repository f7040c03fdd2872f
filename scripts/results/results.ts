// What the tests of one run showed, and which files are run once more. Used by npm test, the matrix and the VM.

/** One test of one run, as reporter.mjs writes it. */
export interface TestResult {
  readonly file: string;
  /** With the names of what it stands in. */
  readonly name: string;
  readonly outcome: "passed" | "failed" | "skipped";
  readonly reason: string;
  /** Of one that failed: the error with its stack, as long as it is. */
  readonly error?: string;
  /** It failed the first time, for that reason, and passed when its file was run once more by itself. */
  readonly again?: boolean;
}

/** What reporter.mjs has written. */
export function parseResults(text: string): TestResult[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as TestResult)
    .filter((result) => "outcome" in result);
}

/** Of the files that were run, those to be run once more by themselves: something in them has failed. */
export function filesToRepeat(results: readonly TestResult[], files: readonly string[]): readonly string[] {
  const failed = results.filter(({ outcome }) => outcome === "failed");
  const their = [...new Set(failed.map(({ file }) => file))];
  // Tests that several files share go by the name of the file that declares them.
  return their.every((file) => files.includes(file)) ? their : files;
}

/** The results of a run, with those of a second one of some of its files in their place. */
export function withRepeated(
  results: readonly TestResult[],
  repeated: readonly string[],
  second: readonly TestResult[],
): TestResult[] {
  const failed = results.filter(({ outcome }) => outcome === "failed");
  const every = failed.some(({ file }) => !repeated.includes(file));
  const kept = every ? [] : results.filter(({ file }) => !repeated.includes(file));
  const before = new Map(withKeys(results));
  const mended = (first: TestResult): TestResult => ({ ...first, outcome: "passed", again: true });
  const marked = withKeys(second).map(([key, result]): TestResult => {
    const first = before.get(key);
    before.delete(key);
    return first?.outcome === "failed" && result.outcome === "passed" ? mended(first) : result;
  });
  // A file that failed as a whole is not spoken of when it passes; a test that did not come to run again has not passed.
  const isRed = (file: string): boolean =>
    second.some((each) => each.file === file && each.outcome === "failed");
  const unspoken = [...before.values()]
    .filter(({ outcome }) => outcome === "failed")
    .map((first) => (isRed(first.file) ? first : mended(first)));
  return [...kept, ...marked, ...unspoken];
}

/** Tests that several files share have one name, and come in the order of the files. */
function withKeys(results: readonly TestResult[]): [string, TestResult][] {
  const seen = new Map<string, number>();
  return results.map((result) => {
    const name = JSON.stringify([result.file, result.name]);
    const n = seen.get(name) ?? 0;
    seen.set(name, n + 1);
    return [`${name} ${n}`, result];
  });
}
