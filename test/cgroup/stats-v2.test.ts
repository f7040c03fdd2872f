import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryStat, Metrics } from "../../src/api/generated/cgroups_v2.ts";
import { UNLIMITED } from "../../src/cgroup/files.ts";
import { metricsV2 } from "../../src/cgroup/stats-v2.ts";
import { inMemory, type Recorded, recorded } from "./recorded.ts";

function metrics({ paths, files }: Recorded): Metrics {
  return Metrics.decode(metricsV2(paths, files));
}

test("every controller's figures are told from the kernel's files", () => {
  const found = metrics(recorded("v2"));
  assert.deepEqual(found.pids, { current: 7n, limit: UNLIMITED });
  assert.deepEqual(found.cpu, {
    usageUsec: 912345n,
    userUsec: 700001n,
    systemUsec: 212344n,
    nrPeriods: 40n,
    nrThrottled: 12n,
    throttledUsec: 345678n,
  });
  assert.deepEqual(found.memoryEvents, { low: 1n, high: 2n, max: 14n, oom: 3n, oomKill: 2n });
  assert.deepEqual(found.io?.usage, [
    { major: 8n, minor: 16n, rbytes: 1459200n, wbytes: 314773504n, rios: 192n, wios: 353n },
    { major: 8n, minor: 0n, rbytes: 90430464n, wbytes: 299008000n, rios: 8950n, wios: 1252n },
  ]);
  assert.deepEqual(found.rdma, {
    current: [
      { device: "mlx4_0", hcaHandles: 1, hcaObjects: 20 },
      { device: "ocrdma1", hcaHandles: 1, hcaObjects: 23 },
    ],
    limit: [
      { device: "mlx4_0", hcaHandles: 2, hcaObjects: 2000 },
      { device: "ocrdma1", hcaHandles: 3, hcaObjects: 0xffff_ffff },
    ],
  });
  assert.deepEqual(found.hugetlb, [
    { current: 0n, max: 1073741824n, pagesize: "1GB" },
    { current: 2097152n, max: UNLIMITED, pagesize: "2MB" },
  ]);
});

/** memory_stat field names are the keys of the kernel's memory.stat, but for those that come from files of their own. */
test("each memory field has the figure of its own name", () => {
  const { paths, files } = recorded("v2");
  const memory = metrics({ paths, files }).memory;
  const text = files.read(`${paths.directory("memory")}/memory.stat`) ?? "";
  const kernel = new Map(text.split("\n").map((line) => line.split(" ") as [string, string]));
  const fromFiles: Record<string, bigint> = {
    usage: 9437184n,
    usageLimit: 33554432n,
    swapUsage: 53248n,
    swapLimit: UNLIMITED,
    maxUsage: 10485760n,
    swapMaxUsage: 61440n,
  };
  for (const [name, figure] of Object.entries(memory ?? {})) {
    const key = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    assert.equal(figure, fromFiles[name] ?? BigInt(kernel.get(key) ?? 0), name);
  }
  assert.equal(Object.keys(memory ?? {}).length, 37);
});

test("missing controllers leave zeros, and no memory events", () => {
  const found = metrics(inMemory(2, { "cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\n" }));
  assert.equal(found.cpu?.usageUsec, 5n);
  assert.deepEqual(found.pids, { current: 0n, limit: 0n });
  assert.deepEqual(found.memory, MemoryStat.decode(new Uint8Array()));
  assert.deepEqual(found.io, { usage: [] });
  assert.deepEqual(found.rdma, { current: [], limit: [] });
  assert.deepEqual(found.hugetlb, []);
  assert.equal(found.memoryEvents, undefined);
});

test("empty and malformed files are passed over", () => {
  const found = metrics(
    inMemory(2, {
      "memory.current": "",
      "memory.max": "what\n",
      "memory.events": "",
      "memory.stat": "anon\nfile 1 2\nsock x\nshmem 9",
      "io.stat": "8:0\nnonsense rbytes=1\n8:1 rbytes=x wios=4\n",
      "rdma.current": "mlx4_0\n",
    }),
  );
  assert.deepEqual(found.memory, { ...MemoryStat.decode(new Uint8Array()), shmem: 9n });
  assert.deepEqual(found.io?.usage, [{ major: 8n, minor: 1n, rbytes: 0n, wbytes: 0n, rios: 0n, wios: 4n }]);
  assert.deepEqual(found.rdma?.current, []);
});
