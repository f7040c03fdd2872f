import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Metrics } from "../../src/api/generated/cgroups_v1.ts";
import { metricsV1 } from "../../src/cgroup/stats-v1.ts";
import { oracle } from "../api/oracle.ts";
import { inMemory, type Recorded, recorded } from "./recorded.ts";

function metrics({ paths, files }: Recorded): Metrics {
  return Metrics.decode(metricsV1(paths, files));
}

test("a recorded container has the figures that containerd's own shim gave for it", () => {
  const { paths, files } = recorded("v1");
  const type = oracle("cgroups_v1.proto").lookupType("io.containerd.cgroups.v1.Metrics");
  const ours = type.toObject(type.decode(metricsV1(paths, files)), { longs: Number });
  const given: unknown = JSON.parse(
    readFileSync(join(import.meta.dirname, "recorded/v1/metrics.json"), "utf8"),
  );
  // The daemon answers this request in JSON with the proto's own names, and leaves zeros out as we do.
  assert.deepEqual(JSON.parse(JSON.stringify(ours)), given);
});

test("a container without any cgroup has CPU figures of zero and nothing else", () => {
  const asked: string[] = [];
  const files = {
    ...inMemory(1, {}).files,
    read: (path: string) => {
      asked.push(path);
      return undefined;
    },
  };
  const found = Metrics.decode(metricsV1({ version: 1, directory: () => undefined }, files));
  assert.deepEqual(asked, []);
  assert.deepEqual(found.cpu?.usage, { total: 0n, kernel: 0n, user: 0n, perCpu: [] });
  const present = Object.entries(found).filter(([, value]) => value !== undefined && !Array.isArray(value));
  assert.deepEqual(
    present.map(([name]) => name),
    ["cpu"],
  );
});

test("a pids limit of max is no limit, which v1 clients know as 0", () => {
  assert.deepEqual(metrics(inMemory(1, { "pids.current": "5\n", "pids.max": "max\n" })).pids, {
    current: 5n,
    limit: 0n,
  });
  assert.deepEqual(metrics(inMemory(1, { "pids.current": "5\n", "pids.max": "64\n" })).pids, {
    current: 5n,
    limit: 64n,
  });
});

test("user and system time come in nanoseconds", () => {
  const found = metrics(
    inMemory(1, { "cpuacct.stat": "user 13\nsystem 2\n", "cpuacct.usage": "149999999\n" }),
  );
  assert.deepEqual(found.cpu?.usage, {
    total: 149999999n,
    user: 130_000_000n,
    kernel: 20_000_000n,
    perCpu: [],
  });
});

test("memory without swap accounting keeps its kernel figures", () => {
  const found = metrics(
    inMemory(1, {
      "memory.stat": "cache 1\nrss 2\ntotal_unevictable 3\n",
      "memory.usage_in_bytes": "10\n",
      "memory.limit_in_bytes": "9223372036854771712\n",
      "memory.kmem.usage_in_bytes": "4\n",
      "memory.kmem.tcp.failcnt": "6\n",
    }),
  ).memory;
  assert.equal(found?.cache, 1n);
  assert.equal(found?.totalUnevictable, 3n);
  assert.deepEqual(found?.usage, { limit: 9223372036854771712n, usage: 10n, max: 0n, failcnt: 0n });
  assert.deepEqual(found?.swap, { limit: 0n, usage: 0n, max: 0n, failcnt: 0n });
  assert.equal(found?.kernel?.usage, 4n);
  assert.equal(found?.kernelTcp?.failcnt, 6n);
});

test("block I/O counted for the subtree is taken, with the devices' names", () => {
  const found = metrics(
    inMemory(1, {
      "/proc/partitions":
        "major minor  #blocks  name\n\n   8        0  500107608 sda\n   8        1     524288 sda1\n",
      "blkio.io_service_bytes_recursive":
        "8:0 Read 4096\n8:0 Write 0\n8:0 Total 4096\n253:7 Read 1\nTotal 4097\n",
      "blkio.time_recursive": "8:0 77\n",
      "blkio.sectors_recursive": "8:1 8\n",
      "blkio.throttle.io_service_bytes": "8:0 Read 999\n",
    }),
  ).blkio;
  assert.deepEqual(found?.ioServiceBytesRecursive, [
    { op: "Read", device: "/dev/sda", major: 8n, minor: 0n, value: 4096n },
    { op: "Write", device: "/dev/sda", major: 8n, minor: 0n, value: 0n },
    { op: "Total", device: "/dev/sda", major: 8n, minor: 0n, value: 4096n },
    { op: "Read", device: "", major: 253n, minor: 7n, value: 1n },
  ]);
  assert.deepEqual(found?.ioTimeRecursive, [
    { op: "", device: "/dev/sda", major: 8n, minor: 0n, value: 77n },
  ]);
  assert.deepEqual(found?.sectorsRecursive, [
    { op: "", device: "/dev/sda1", major: 8n, minor: 1n, value: 8n },
  ]);
});

test("block I/O falls back on the throttling counters where the scheduler counts nothing", () => {
  const found = metrics(
    inMemory(1, {
      "blkio.io_serviced_recursive": "Total 0\n",
      "blkio.throttle.io_service_bytes": "254:0 Read 8192\nTotal 8192\n",
      "blkio.throttle.io_serviced": "254:0 Read 2\nTotal 2\n",
    }),
  ).blkio;
  assert.deepEqual(
    found?.ioServiceBytesRecursive.map((entry) => entry.value),
    [8192n],
  );
  assert.deepEqual(
    found?.ioServicedRecursive.map((entry) => entry.value),
    [2n],
  );
});

test("huge pages are told by size, reservations apart", () => {
  const found = metrics(
    inMemory(1, {
      "hugetlb.2MB.usage_in_bytes": "2097152\n",
      "hugetlb.2MB.max_usage_in_bytes": "4194304\n",
      "hugetlb.2MB.failcnt": "1\n",
      "hugetlb.2MB.rsvd.usage_in_bytes": "5\n",
      "hugetlb.1GB.usage_in_bytes": "0\n",
    }),
  ).hugetlb;
  assert.deepEqual(found, [
    { usage: 0n, max: 0n, failcnt: 0n, pagesize: "1GB" },
    { usage: 2097152n, max: 4194304n, failcnt: 1n, pagesize: "2MB" },
  ]);
});

test("the OOM counters and RDMA devices are told", () => {
  const found = metrics(
    inMemory(1, {
      "memory.oom_control": "oom_kill_disable 1\nunder_oom 0\noom_kill 3\n",
      "rdma.current": "mlx4_0 hca_handle=1 hca_object=20\n",
      "rdma.max": "mlx4_0 hca_handle=2 hca_object=max\n",
    }),
  );
  assert.deepEqual(found.memoryOomControl, { oomKillDisable: 1n, underOom: 0n, oomKill: 3n });
  assert.deepEqual(found.rdma, {
    current: [{ device: "mlx4_0", hcaHandles: 1, hcaObjects: 20 }],
    limit: [{ device: "mlx4_0", hcaHandles: 2, hcaObjects: 0xffff_ffff }],
  });
});

test("a counter that dips below zero, and a file that is empty, count as 0", () => {
  const found = metrics(
    inMemory(1, { "memory.stat": "", "memory.usage_in_bytes": "-4096\n", "memory.failcnt": "" }),
  );
  assert.deepEqual(found.memory?.usage, { limit: 0n, usage: 0n, max: 0n, failcnt: 0n });
});
