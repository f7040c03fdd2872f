// npm run test:vm: boots a Debian kernel with the unified control groups and systemd under qemu's emulation, and runs tests of the shim in there.
//   -- --files FILE...   these test files; docs/compatibility.md stays as it is
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { cache, root } from "../cache.ts";
import { readResults, type TestResult, toCell, writeResults } from "../matrix/results.ts";
import { TITLES } from "../matrix/rows.ts";
import { type Machine, machine, testDisk } from "./image.ts";

/** After so long the machine is ended, in ms: alone it takes seven minutes, on a busy host several times that. */
const LIMIT = 45 * 60_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { files: { type: "boolean" } },
});

/** The suite: what version 2 and systemd change, and a kubelet's verbs. */
const SUITE = [
  ...readdirSync(join(root, "test/vm"))
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => `test/vm/${name}`),
  "test/cri/pods.test.ts",
  "test/e2e/images.test.ts",
];

/** Boots it; resolves when it has powered off, to what it wrote on its second serial port. The first one's output is ours. */
function boot({ kernel, initrd, disk }: Machine, tests: string, scratch: string): Promise<string> {
  const results = join(scratch, "results");
  const args = [
    // Emulation only: the machine that runs this may offer a KVM that does not work.
    ...["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072"],
    ...["-nodefaults", "-no-reboot", "-nographic", "-serial", "stdio", "-serial", `file:${results}`],
    ...["-kernel", kernel, "-initrd", initrd],
    ...[
      "-append",
      "root=/dev/vda rw console=ttyS0 quiet loglevel=3 systemd.show_status=0 systemd.mask=serial-getty@ttyS0.service systemd.default_device_timeout_sec=900 systemd.default_timeout_start_sec=900",
    ],
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

const files = values.files === true ? positionals : SUITE;
const scratch = mkdtempSync(join(cache, "vm-"));
try {
  const { versions, ...system } = machine();
  const began = performance.now();
  const output = await boot({ ...system, versions }, await testDisk(files, scratch), scratch);
  const lines = output
    .split("\n")
    .flatMap((line) => (line.trim() === "" ? [] : [JSON.parse(line) as object]));
  const results = lines.filter((line): line is TestResult => "outcome" in line);
  const ended = lines.some((line) => "status" in line);
  const count = (outcome: string): number => results.filter((each) => each.outcome === outcome).length;
  const seconds = Math.round((performance.now() - began) / 1000);
  if (!ended) console.log("test:vm: the machine ended before its tests did");
  if (values.files !== true && ended) {
    const cells = { vm: toCell(results) };
    const title = "Debian 13, cgroup v2, systemd";
    writeResults({ ...readResults(), vm: { title, versions, cells } }, TITLES);
  }
  console.log(
    `\nvm: ${seconds} s: ${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`,
  );
  process.exitCode = ended && count("failed") === 0 && count("passed") > 0 ? 0 : 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
