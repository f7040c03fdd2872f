import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCgroupPaths, parseHierarchy } from "../../src/cgroup/hierarchy.ts";

function mountinfo(...mounts: [root: string, path: string, type: string, options: string][]): string {
  const lines = mounts.map(
    ([root, path, type, options]) =>
      `30 24 0:26 ${root} ${path} rw,relatime shared:4 - ${type} ${type} ${options}\n`,
  );
  return `24 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n${lines.join("")}`;
}

const unified = mountinfo(["/", "/sys/fs/cgroup", "cgroup2", "rw,nsdelegate"]);
const legacy = mountinfo(
  ["/", "/sys/fs/cgroup/systemd", "cgroup", "rw,xattr,name=systemd"],
  ["/", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", "rw,cpu,cpuacct"],
  ["/", "/sys/fs/cgroup/memory", "cgroup", "rw,memory"],
);

function directory(mounts: string, procCgroup: string, controller: string): string | undefined {
  const hierarchy = parseHierarchy(mounts);
  assert.ok(hierarchy);
  return parseCgroupPaths(hierarchy, procCgroup).directory(controller);
}

test("the host's mode is told by what is mounted", () => {
  const hybrid = legacy + mountinfo(["/", "/sys/fs/cgroup/unified", "cgroup2", "rw"]);
  const unifiedWithSystemd =
    unified + mountinfo(["/", "/sys/fs/cgroup/systemd", "cgroup", "rw,name=systemd"]);
  assert.equal(parseHierarchy(unified)?.mode, "unified");
  assert.equal(parseHierarchy(legacy)?.mode, "legacy");
  assert.equal(parseHierarchy(hybrid)?.mode, "hybrid");
  assert.equal(parseHierarchy(unifiedWithSystemd)?.mode, "unified");
  assert.equal(parseHierarchy(mountinfo()), undefined);
});

test("on v2 the 0:: line leads to one directory for every controller", () => {
  assert.equal(directory(unified, "0::/a.slice/b:c.scope\n", "memory"), "/sys/fs/cgroup/a.slice/b:c.scope");
  assert.equal(directory(unified, "0::/\n", "pids"), "/sys/fs/cgroup");
});

test("on v1 each controller has its own path, below the mount that it shares", () => {
  const procCgroup = "3:cpu,cpuacct:/pods/x\n2:memory:/mem/x\n1:name=systemd:/init.scope\n0::/ignored\n";
  assert.equal(directory(legacy, procCgroup, "cpuacct"), "/sys/fs/cgroup/cpu,cpuacct/pods/x");
  assert.equal(directory(legacy, procCgroup, "memory"), "/sys/fs/cgroup/memory/mem/x");
  assert.equal(directory(legacy, procCgroup, "name=systemd"), "/sys/fs/cgroup/systemd/init.scope");
  assert.equal(directory(legacy, procCgroup, "pids"), undefined);
});

test("below a mount that shows only a part, the part's own path is left out", () => {
  const bound = mountinfo(["/docker/abc", "/sys/fs/cgroup/memory", "cgroup", "rw,memory"]);
  assert.equal(directory(bound, "1:memory:/docker/abc/inner\n", "memory"), "/sys/fs/cgroup/memory/inner");
  assert.equal(directory(bound, "1:memory:/docker/abc\n", "memory"), "/sys/fs/cgroup/memory");
  const boundV2 = mountinfo(["/docker/abc", "/sys/fs/cgroup", "cgroup2", "rw"]);
  assert.equal(directory(boundV2, "0::/docker/abc/inner\n", ""), "/sys/fs/cgroup/inner");
});

test("a cgroup outside of what is mounted has no directory", () => {
  const bound = mountinfo(["/docker/abc", "/sys/fs/cgroup/memory", "cgroup", "rw,memory"]);
  assert.equal(directory(bound, "1:memory:/docker/abcd/inner\n", "memory"), undefined);
  assert.equal(directory(bound, "1:memory:/\n", "memory"), undefined);
  assert.equal(directory(unified, "0::/../sibling\n", ""), undefined);
  assert.equal(directory(mountinfo(["/", "/sys/fs/../cgroup", "cgroup2", "rw"]), "0::/a\n", ""), undefined);
});

test("of several mounts of one controller, the first that shows the cgroup counts", () => {
  const twice = mountinfo(
    ["/other", "/mnt/memory", "cgroup", "rw,memory"],
    ["/", "/sys/fs/cgroup/memory", "cgroup", "rw,memory"],
  );
  assert.equal(directory(twice, "1:memory:/x\n", "memory"), "/sys/fs/cgroup/memory/x");
  assert.equal(directory(twice, "1:memory:/other/x\n", "memory"), "/mnt/memory/x");
});

test("blanks in a mount's path are decoded", () => {
  assert.equal(directory(mountinfo(["/", "/my\\040cg", "cgroup2", "rw"]), "0::/x\n", ""), "/my cg/x");
});
