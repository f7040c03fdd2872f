// npm run test:vm: boots a Debian kernel with the unified control groups and systemd under qemu's emulation, and runs tests of the shim in there.
//   -- --files FILE...   these test files; docs/compatibility.md stays as it is
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { cache } from "../cache.ts";
import {
  filesToRepeat,
  readResults,
  type TestResult,
  toCell,
  withRepeated,
  writeResults,
} from "../matrix/results.ts";
import { TITLES } from "../matrix/rows.ts";
import { type Machine, machine, testDisk } from "./image.ts";

/** After so long the machine is ended, in ms: it is six minutes of work for one processor, and a busy host takes several times that. */
const LIMIT = 45 * 60_000;

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

const KERNEL_ARGUMENTS = [
  ...["console=ttyS0", "quiet", "loglevel=3", "systemd.show_status=0"],
  // qemu runs each processor as a thread, and now and then one meets the mark of a change of the kernel's own code that is over: the machine ends at once.
  "panic=-1",
  // Nothing here is secret from anybody, and every switch of address spaces is dear under emulation.
  ...["mitigations=off", "audit=0", "nokaslr"],
  // Control groups and namespaces go when the processors have all been seen idle once: at once, not at the next ticks.
  "rcupdate.rcu_expedited=1",
  // Each start is the first one of this disk, and there is nothing to be done for it.
  ...["systemd.condition_needs_update=0", "systemd.condition_first_boot=0", "systemd.firstboot=0"],
  ...["systemd.default_device_timeout_sec=900", "systemd.default_timeout_start_sec=900"],
];

/** Boots it; resolves when it has powered off, to what it wrote on its second serial port. The first one's output is ours. */
function boot({ kernel, initrd, disk }: Machine, tests: string, scratch: string): Promise<string> {
  const results = join(scratch, "results");
  const args = [
    // Emulation only: the machine that runs this may offer a KVM that does not work.
    ...["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072"],
    ...["-nodefaults", "-no-reboot", "-nographic", "-serial", "stdio", "-serial", `file:${results}`],
    ...["-kernel", kernel, "-initrd", initrd],
    ...["-append", KERNEL_ARGUMENTS.join(" ")],
    // What is written to the first disk is forgotten when it powers off.
    ...["-drive", `file=${disk},format=raw,if=virtio,snapshot=on`],
    ...["-drive", `file=${tests},format=raw,if=virtio,readonly=on`],
  ];
  return new Promise((done, fail) => {
    const child = spawn("qemu-system-x86_64", args, { stdio: ["ignore", "inherit", "inherit"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT);
    child.once("error", fail);
    child.once("close", () => {
      clearTimeout(timer);
      done(existsSync(results) ? readFileSync(results, "utf8") : "");
    });
  });
}

/** What the tests in these files showed in there. Throws when the machine ends before they do. */
async function run(system: Machine, files: readonly string[], scratch: string): Promise<TestResult[]> {
  const disk = await testDisk(files, scratch);
  const once = async (): Promise<object[]> =>
    (await boot(system, disk, scratch))
      .split("\n")
      .flatMap((line) => (line.trim() === "" ? [] : [JSON.parse(line) as object]));
  const isWhole = (lines: readonly object[]): boolean => lines.some((line) => "status" in line);
  let lines = await once();
  if (!isWhole(lines)) {
    console.log("\n==> the machine ended before its tests did: once more");
    lines = await once();
  }
  if (!isWhole(lines)) throw new Error("the machine ended before its tests did, twice");
  return lines
    .filter((line): line is TestResult => "outcome" in line)
    .map((result) => ({ ...result, file: result.file.replace(/\.mjs$/, ".ts") }));
}

const files = values.files === true ? positionals : SUITE;
const scratch = mkdtempSync(join(cache, "vm-"));
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
  process.exitCode = count("failed") === 0 && count("passed") > 0 ? 0 : 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
