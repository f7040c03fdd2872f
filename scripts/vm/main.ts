// npm run test:vm: boots a Debian kernel with the unified control groups and systemd under qemu's emulation, and runs tests of the shim in there.
//   -- --files FILE...   these test files; docs/compatibility.md stays as it is
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { cache } from "../cache.ts";
import { readResults, toCell, writeResults } from "../matrix/results.ts";
import { TITLES } from "../matrix/rows.ts";
import { filesToRepeat, type TestResult, withRepeated } from "../results/results.ts";
import { boot } from "./boot.ts";
import { type Machine, machine, testDisk } from "./image.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { files: { type: "boolean" } },
});

/** The suite: what version 2, systemd and a new kernel change, a kubelet's verbs, and shims that are killed. The longest first: two run at a time. */
const SUITE = [
  "test/cri/pods.test.ts",
  "test/vm/unified.test.ts",
  "test/vm/systemd-cgroup.test.ts",
  "test/e2e/images.test.ts",
  "test/keeper/containerd.test.ts",
  "test/keeper/direct-killed.test.ts",
  "test/e2e/direct-rootfs.test.ts",
];

/**
 * What the tests in these files showed in there. A machine that dies is booted once more, for the files that it had not come to the end of. Throws when it
 * dies again, and when tests hang.
 */
async function run(system: Machine, files: readonly string[], scratch: string): Promise<TestResult[]> {
  const { watch, verdict } = await boot(system, await testDisk(files, scratch), scratch);
  if (verdict === undefined) return watch.results;
  if (!verdict.died) throw new Error(`${verdict.why}: ${watch.running.join("; ")}`);
  const left = files.filter((file) => !watch.ended.has(file));
  const kept = watch.results.filter(({ file }) => !left.includes(file));
  if (left.length === 0) return kept;
  // Tests that several files share go by the name of the file that declares them.
  const isKnown = kept.every(({ file }) => files.includes(file));
  const again = isKnown ? left : files;
  notes.push(`the machine died (${verdict.why}); booted once more for ${again.join(" ")}`);
  console.log(`\n==> ${notes.at(-1)}`);
  const second = await boot(system, await testDisk(again, scratch), scratch);
  if (second.verdict !== undefined) throw new Error(`the machine died twice: ${second.verdict.why}`);
  return [...(isKnown ? kept : []), ...second.watch.results];
}

/** What a reader of the results is to know of how they came about. */
const notes: string[] = [];
const files = values.files === true ? positionals : SUITE;
const scratch = mkdtempSync(join(cache, "vm-"));
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    rmSync(scratch, { recursive: true, force: true });
    process.exit(1);
  });
}
try {
  const system = machine(scratch);
  const began = performance.now();
  let results = await run(system, files, scratch);
  const again = values.files === true ? [] : filesToRepeat(results, files);
  if (again.length > 0) {
    console.log(`\n==> once more, by itself: ${again.join(" ")}`);
    results = withRepeated(results, again, await run(system, again, scratch));
  }
  if (values.files !== true) {
    const row = { title: "Debian 13, cgroup v2, systemd", versions: system.versions };
    writeResults({ ...readResults(), vm: { ...row, cells: { vm: toCell(results) } } }, TITLES);
  }
  const count = (outcome: string): number => results.filter((each) => each.outcome === outcome).length;
  const seconds = Math.round((performance.now() - began) / 1000);
  console.log(
    `\nvm: ${seconds} s: ${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`,
  );
  for (const note of notes) console.log(`vm: ${note}`);
  process.exitCode = count("failed") === 0 && count("passed") > 0 ? 0 : 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
