// The runner of the virtual machine's tests never waits for what does not come: a machine that dies is told from tests that hang, and both are ended.
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { after, test } from "node:test";
import { boot, type Run } from "../../scripts/vm/boot.ts";
import { Watch } from "../../scripts/vm/watch.ts";

const LIMITS = { whole: 1000, silence: 100, standstill: 500 };
const RESULT = { file: "test/vm/a.test.mjs", name: "one", outcome: "passed", reason: "" };

function lines(...told: object[]): string {
  return told.map((each) => `${JSON.stringify(each)}\n`).join("");
}

test("what the machine tells is put together again, however it is cut, and a torn line is passed over", () => {
  const watch = new Watch(0, LIMITS);
  const text = lines(
    { file: "test/vm/a.test.mjs", began: "one" },
    { file: "test/vm/b.test.mjs", began: "two" },
    RESULT,
    { file: "test/vm/a.test.mjs", over: true },
  );
  for (const sign of `{"alive": {"alive": true}\n${text}`) watch.heard(sign, 1);
  assert.deepEqual(watch.running, ["test/vm/b.test.ts: two"]);
  assert.deepEqual([...watch.ended], ["test/vm/a.test.ts"]);
  assert.deepEqual(watch.results, [{ ...RESULT, file: "test/vm/a.test.ts" }]);
  assert.equal(watch.isWhole, false);
  watch.heard(lines({ status: 0 }), 2);
  assert.equal(watch.isWhole, true);
});

test("a machine that is silent has died; one that lives while no test ends, or for too long, has tests that hang", () => {
  const alive = lines({ alive: true });
  const silent = new Watch(0, LIMITS);
  silent.heard(alive, 50);
  assert.equal(silent.verdict(150), undefined);
  assert.equal(silent.verdict(151)?.died, true);

  const hanging = new Watch(0, LIMITS);
  hanging.heard(lines({ file: "test/vm/a.test.mjs", began: "one" }), 90);
  for (let now = 100; now <= 600; now += 50) hanging.heard(alive, now);
  assert.match(hanging.verdict(600)?.why ?? "", /no test has begun or ended/);
  assert.equal(hanging.verdict(600)?.died, false);

  const slow = new Watch(0, LIMITS);
  for (let now = 0; now <= 1001; now += 50) slow.heard(lines(RESULT), now);
  assert.deepEqual(slow.verdict(1001)?.died, false);
});

const directory = mkdtempSync(join(tmpdir(), "holdfast-vm-"));
after(() => rmSync(directory, { recursive: true }));

/** Boots a machine whose qemu is this script; its second port is the file $port. */
async function bootOf(script: string): Promise<Run> {
  const path = join(directory, "qemu-system-x86_64");
  const find = "for arg; do case $arg in file:*) port=$(echo $arg | cut -d : -f 2-) ;; esac; done";
  writeFileSync(path, `#!/bin/sh\n${find}\n${script}\n`);
  chmodSync(path, 0o755);
  const before = process.env.PATH;
  process.env.PATH = `${directory}${delimiter}${before}`;
  try {
    const machine = { kernel: "k", initrd: "i", disk: "d", versions: {} };
    return await boot(machine, "tests", directory, { whole: 60_000, silence: 1500, standstill: 60_000 });
  } finally {
    process.env.PATH = before;
  }
}

test("a kernel that panics ends its machine: the run is over, with what was told before", async () => {
  const { watch, verdict } = await bootOf(
    `echo '${JSON.stringify(RESULT)}' >$port; echo '{"file": "test/vm/a.test.mjs", "began": "two"}' >>$port; echo 'Kernel panic'`,
  );
  assert.equal(verdict?.died, true);
  assert.match(verdict?.why ?? "", /ended by itself: qemu with status 0/);
  assert.equal(watch.results.length, 1);
  assert.deepEqual(watch.running, ["test/vm/a.test.ts: two"]);
});

test("a machine that stands still is ended", async () => {
  const { verdict } = await bootOf("echo 'soft lockup'; exec sleep 1000000");
  assert.equal(verdict?.died, true);
  assert.match(verdict?.why ?? "", /no sign of life/);
});

test("a machine that has told its tests' end is not waited for when it does not power off", async () => {
  const { watch, verdict } = await bootOf(`echo '{"status": 0}' >$port; exec sleep 1000000`);
  assert.equal(verdict, undefined);
  assert.equal(watch.isWhole, true);
});
