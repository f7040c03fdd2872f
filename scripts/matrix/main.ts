// npm run test:matrix: the shim's tests on the daemons of each Debian release, and docs/compatibility.md made of what they showed.
//   -- --only ROW     one of bookworm, trixie, sid        -- --group GROUP   one column of the table
//   -- --short        the choice that npm test runs        -- --files FILE... these test files; the page stays as it is
import { parseArgs } from "node:util";
import { untilSignal } from "../../test/harness/rootfs.ts";
import { cache } from "../cache.ts";
import { runNodeTestsTwice } from "../results/node-test.ts";
import type { TestResult } from "../results/results.ts";
import { type Cell, readResults, toCell, writeResults } from "./results.ts";
import { debianRoot, inRoot, versionsIn } from "./roots.ts";
import { GROUPS, type Group, packagesOf, ROWS, type Row, SHORT, SHOWN, TITLES } from "./rows.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: "string" },
    group: { type: "string" },
    short: { type: "boolean" },
    files: { type: "boolean" },
  },
});

function chosen<T extends { readonly name: string }>(
  all: readonly T[],
  name: string | undefined,
  flag: string,
): T[] {
  const found = all.filter((each) => name === undefined || each.name === name);
  if (found.length > 0) return found;
  console.error(`test:matrix: --${flag} takes one of ${all.map((each) => each.name).join(", ")}`);
  process.exit(2);
}

/** Runs the files in the row's system; their output is ours. What is red in the table has been red twice. */
function runTests(row: Row, files: readonly string[], env: Readonly<Record<string, string>>): TestResult[] {
  const system = debianRoot(row.suite, values.short === true ? SHORT.packages : packagesOf(row));
  return runNodeTestsTwice(files, {
    // In a directory that the root has too.
    scratch: cache,
    wrap: (argv) => {
      const [program = "", ...args] = inRoot(system, { ...passedOn(), ...env }, argv);
      // What runs in there ends with this process, whatever ends it.
      return ["setpriv", "--pdeathsig", "KILL", program, ...args];
    },
  });
}

/** Settings of the tests, as the host has them. */
function passedOn(): Record<string, string> {
  const names = Object.keys(process.env).filter((name) => name.startsWith("HOLDFAST_TEST_"));
  return Object.fromEntries(names.map((name) => [name, process.env[name] ?? ""]));
}

function record(row: Row, group: Group, cell: Cell): void {
  const results = readResults();
  const versions = versionsIn(debianRoot(row.suite, packagesOf(row)), SHOWN);
  const cells = { ...results[row.name]?.cells, [group.name]: cell };
  const all = { ...results, [row.name]: { title: row.title, versions, cells } };
  const order = [...ROWS.map(({ name }) => name), ...Object.keys(all)];
  const sorted = Object.fromEntries(order.flatMap((name) => (all[name] ? [[name, all[name]]] : [])));
  writeResults(sorted, TITLES);
}

// Compiled here: the rows' systems have no compiler.
untilSignal();
const files = values.short === true ? SHORT.files : positionals;
const rows = chosen(ROWS, values.short === true ? SHORT.row : values.only, "only");
const groups = chosen(GROUPS, values.group, "group");
const summary: string[] = [];
let failed = 0;

function note(row: Row, what: string, results: readonly TestResult[]): void {
  const count = (outcome: string): number => results.filter((result) => result.outcome === outcome).length;
  failed += count("failed");
  summary.push(
    `${row.name}: ${what}: ${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`,
  );
}

for (const row of rows) {
  if (files.length > 0) {
    console.log(`\n==> ${row.title}`);
    note(row, files.join(" "), runTests(row, files, {}));
    continue;
  }
  for (const group of groups) {
    console.log(`\n==> ${row.title}: ${group.title}`);
    const results = runTests(row, group.files, group.env ?? {});
    note(row, group.title, results);
    record(row, group, toCell(results));
  }
}
console.log(`\n${summary.join("\n")}`);
process.exit(failed === 0 ? 0 : 1);
