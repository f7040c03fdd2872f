// What a mutant is: one plausible fault, as data. `npm run mutants` puts them into a copy of the tree, one at a time, and looks whether a test notices.

export interface Mutant {
  /** What breaks, in a few words. */
  readonly what: string;
  /** The file, from the project's root. */
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly text: string;
  readonly replacement: string;
  /** The test files that must fail, from the project's root. The first is the one that should notice. */
  readonly tests: readonly string[];
  /** Environment of the tests, such as HOLDFAST_TEST_DAEMON. */
  readonly env?: Readonly<Record<string, string>>;
  /** Why no test can notice; such a mutant is reported, and does not count. */
  readonly explained?: string;
}
