// What the kernel says of itself. It is no enemy; a container's cgroup and mount points have names that a container may have given, though.
import assert from "node:assert/strict";
import { Metrics as MetricsV1 } from "../../../src/api/generated/cgroups_v1.ts";
import { Metrics as MetricsV2 } from "../../../src/api/generated/cgroups_v2.ts";
import { parseCgroupPaths, parseHierarchy } from "../../../src/cgroup/hierarchy.ts";
import { metricsV1 } from "../../../src/cgroup/stats-v1.ts";
import { metricsV2 } from "../../../src/cgroup/stats-v2.ts";
import type { ParserTarget } from "./target.ts";
import { text, utf8 } from "./target.ts";

const cgroup: ParserTarget = {
  name: "cgroup",
  what: "mountinfo, /proc/PID/cgroup and the figures of control groups: any text at all gives figures that can be sent",
  words: [
    "cgroup2 cgroup2 rw",
    "cgroup cgroup rw,memory",
    "0::/a\n",
    "4:memory:/a\n",
    " - ",
    "\\040",
    "/..",
    "max",
    "18446744073709551616",
    "-1",
    "8:0 rbytes=1 wbytes=2",
    "8:0 Read 1\n",
    "oom_kill 1\n",
    "hca_handle=2 hca_object=max",
    "\n",
  ],
  seeds: () =>
    [
      "25 20 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n0::/a\nusage_usec 5\nanon 7\n8:0 rbytes=1 wbytes=2 rios=3 wios=4\n",
      "30 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n4:memory:/a\nmax\n",
      "8:0 Read 10\n8:0 Write 5\nTotal 15\n",
      "mlx4_0 hca_handle=2 hca_object=max\n1 2 3 4\n",
    ].map(utf8),
  run(input) {
    const given = text(input);
    const hierarchy = parseHierarchy(given);
    const files = { read: () => given, list: () => given.split("\n").slice(0, 8) };
    const every = { directory: () => "/cgroup" };
    if (hierarchy !== undefined) {
      const { directory } = parseCgroupPaths(hierarchy, given);
      for (const name of ["", "memory"]) assert.ok(!directory(name)?.includes("/../"));
    }
    MetricsV1.decode(metricsV1({ version: 1, ...every }, files));
    MetricsV2.decode(metricsV2({ version: 2, ...every }, files));
  },
};

export const kernelTargets: readonly ParserTarget[] = [cgroup];
