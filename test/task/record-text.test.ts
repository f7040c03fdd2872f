// Records are put together from texts, of which some are made once: what a successor reads is what an object of the same fields would be.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Cgroup } from "../../src/cgroup/cgroup.ts";
import type { CgroupPaths } from "../../src/cgroup/hierarchy.ts";
import type { OomCounts, OomWatch } from "../../src/cgroup/oom.ts";
import type { Platform } from "../../src/platform/platform.ts";
import { Process, type ProcessRecord } from "../../src/task/process.ts";

const read = (process: Process): ProcessRecord => JSON.parse(process.record());

test("a process's record has what it was made with, whatever its characters, and what has become of it since", () => {
  const config = { stdin: '/in "a"', stdout: "/out\\é\n{}", stderr: "", terminal: true };
  const process = new Process("init", 'it\'s, "one"', config);
  const made = { id: 'it\'s, "one"', ...config, pid: 0, pidfd: -1, isStdinClosed: false };
  assert.deepEqual(read(process), { ...made, state: "created" });
  process.request("start");
  process.resize(80, 25);
  assert.deepEqual(read(process), { ...made, state: "starting", size: [80, 25] });
  process.happened("started");
  process.closeStdin();
  process.died({ status: 137, at: 1795710984287203762n });
  const ending = { ...made, state: "ending", size: [80, 25], isStdinClosed: true };
  assert.deepEqual(read(process), { ...ending, exit: { status: 137, at: "1795710984287203762" } });
});

for (const [name, counts, expected] of [
  ["without counts", undefined, {}],
  ["of version 1", { published: 3n }, { oomKills: "3" }],
  [
    "of version 2",
    { published: 0n, around: 12345678901234567890n },
    { oomKills: "0", oomKillsAround: "12345678901234567890" },
  ],
] as const) {
  test(`a cgroup's record, ${name}, has its membership and the counts of now`, () => {
    const membership = '4:memory:/a\\x2d"b\n0::/a\n';
    const now: { counts: OomCounts } | undefined = counts && { counts };
    const cgroup = new Cgroup({} as Platform, membership, {} as CgroupPaths, now as OomWatch | undefined);
    assert.deepEqual(JSON.parse(cgroup.record()), { membership, ...expected });
    if (now === undefined) return;
    now.counts = { ...now.counts, published: 7n };
    assert.deepEqual(JSON.parse(cgroup.record()), { membership, ...expected, oomKills: "7" });
  });
}
