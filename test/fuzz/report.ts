// What a run of a fuzzer comes to. Made by native.ts and parsers.ts, shown by main.ts.

export interface FuzzReport {
  readonly target: string;
  /** What has guided it. */
  readonly by: "libFuzzer" | "V8's counters" | "replay";
  readonly seed: number;
  readonly seconds: number;
  readonly executions: number;
  /** Of the code that is fuzzed; "" where nothing has counted it. */
  readonly coverage: string;
  /** Inputs that reach something of their own. */
  readonly corpus: number;
  /** What has gone wrong, with the file that has the input. */
  readonly crashes: readonly { readonly input: string; readonly error: string }[];
}

export function reportText(report: FuzzReport): string {
  const { target, by, seed, seconds, executions, coverage, corpus, crashes } = report;
  return [
    `${target}: ${by}, seed ${seed}, ${seconds} s`,
    `  executions ${executions}, ${coverage === "" ? "" : `${coverage}, `}${corpus} inputs in the corpus`,
    ...(crashes.length === 0 ? ["  crashes    none"] : []),
    ...crashes.flatMap(({ input, error }) => [
      `  CRASH      ${error.split("\n").join("\n             ")}`,
      `  repeat     npm run fuzz -- ${target} --input ${input}`,
    ]),
  ].join("\n");
}
