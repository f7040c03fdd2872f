// What a mutant is: one plausible fault, as data. `npm run mutants` puts them into a copy of the tree, one at a time, and looks whether a test notices.

export interface Mutant {
  /** What breaks, in a few words. */
  readonly what: string;
  /** The file, from the project's root. */
  readonly file: string;
  /** Stands in the file exactly once; how its lines are broken and indented does not count. */
  readonly text: string;
  readonly replacement: string;
  /** The test files that must fail, from the project's root. The first is the one that should notice. */
  readonly tests: readonly string[];
  /** Part of the title of the tests that should notice, as it stands in the first file; without it all of the files' tests are run. */
  readonly name?: string;
  /** Environment of the tests, such as HOLDFAST_TEST_DAEMON. */
  readonly env?: Readonly<Record<string, string>>;
  /** Says why the fault shows only as something that never ends. For any other a test that runs out of time has not noticed. */
  readonly hangs?: string;
  /** Why no test can notice; such a mutant is reported, and does not count. */
  readonly explained?: string;
}
