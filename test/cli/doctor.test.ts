// What `holdfast doctor` makes of kernels, control groups and users: its checks on what other hosts show, and the program as somebody who is not root.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { controlGroups } from "../../src/cli/doctor/control-groups.ts";
import { kernel } from "../../src/cli/doctor/host-checks.ts";
import { run } from "../harness/command.ts";
import { Cli } from "./cli.ts";

test("the kernel must reap through pidfds (5.4), and should mount disk images (5.8); nothing else is promised", () => {
  for (const [version, level] of [
    ["4.19.0-27-amd64", "bad"],
    ["5.3.18-default", "bad"],
    ["5.4.0-42-generic", "good-enough"],
    ["5.7.19", "good-enough"],
    ["5.8.0", "good"],
    ["5.10.0-28-amd64", "good"],
    ["6.1.0-18-amd64", "good"],
    ["10.0", "good"],
  ] as const) {
    const found = kernel(version);
    assert.equal(found.level, level === "good-enough" ? "hint" : level, version);
    assert.doesNotMatch(`${found.found}${found.advice}`, /PIDFD_GET_INFO|outlive/);
  }
  assert.match(kernel("5.3.18").advice ?? "", /5\.4/);
  assert.match(kernel("5.4.0").advice ?? "", /5\.8/);
});

/** Lines of mountinfo, of type, place and options. */
function mounts(...lines: readonly (readonly [type: string, point: string, options: string])[]): string {
  return lines
    .map(
      ([type, point, options], index) =>
        `${30 + index} 1 0:${index} / ${point} rw - ${type} ${type} ${options}`,
    )
    .join("\n");
}

const V1 = ["memory", "cpu,cpuacct", "pids", "freezer"].map(
  (options) => ["cgroup", `/sys/fs/cgroup/${options}`, `rw,${options}`] as const,
);
const TMPFS = ["tmpfs", "/sys/fs/cgroup", "rw,mode=755"] as const;
const SYSTEMD = ["cgroup", "/sys/fs/cgroup/systemd", "rw,xattr,name=systemd"] as const;
const UNIFIED = ["cgroup2", "/sys/fs/cgroup/unified", "rw"] as const;
const V2 = ["cgroup2", "/sys/fs/cgroup", "rw,nsdelegate"] as const;
const ALL = "cpuset cpu io memory hugetlb pids rdma misc";

test("control groups are told apart as runc does", () => {
  const cases: readonly (readonly [
    what: string,
    mountinfo: string,
    controllers: string,
    level: string,
    found: RegExp,
  ])[] = [
    ["version 2", mounts(V2), ALL, "good", /^v2$/],
    ["version 2 beside systemd's named hierarchy", mounts(V2, SYSTEMD), ALL, "good", /^v2$/],
    ["version 2 without memory", mounts(V2), "cpu pids", "bad", /^v2, without memory$/],
    [
      "memory kept by version 1",
      mounts(V2, ["cgroup", "/mnt/memory", "rw,memory"]),
      "cpu pids",
      "bad",
      /memory/,
    ],
    ["version 1", mounts(TMPFS, ...V1, SYSTEMD), "", "good", /^v1$/],
    ["hybrid", mounts(TMPFS, ...V1, SYSTEMD, UNIFIED), "", "good", /^v1 \(hybrid\)$/],
    ["hybrid without freezer", mounts(TMPFS, ...V1.slice(0, 3), UNIFIED), "", "bad", /without freezer$/],
    ["only a named hierarchy", mounts(TMPFS, SYSTEMD), "", "bad", /^none mounted$/],
    ["version 2 where nobody looks", mounts(TMPFS, SYSTEMD, UNIFIED), ALL, "bad", /unified only/],
    ["none", mounts(TMPFS), "", "bad", /^none mounted$/],
  ];
  for (const [what, mountinfo, controllers, level, found] of cases) {
    const finding = controlGroups(mountinfo, controllers);
    assert.equal(finding.level, level, what);
    assert.match(finding.found, found, what);
  }
});

test("doctor as somebody who is not root gives its findings, and says that root is needed", async () => {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-doctor-"));
  const closed = join(directory, "closed");
  try {
    chmodSync(directory, 0o755);
    mkdirSync(closed, { mode: 0o700 });
    const cli = new Cli();
    const program = join(directory, "dist");
    cpSync(dirname(cli.program), program, {
      recursive: true,
      filter: (path) => !path.endsWith("/sanitize") && !path.endsWith("-v2"),
    });
    execFileSync("chmod", ["-R", "a+rX", program]);
    const line = [join(program, "holdfast"), "doctor", "--json", "--address", join(closed, "c.sock")];
    const output = await run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", ...line]);
    cli.close();
    assert.equal(output.stderr, "");
    assert.equal(output.status, 1);
    const findings = JSON.parse(output.stdout) as { check: string; level: string; found: string }[];
    const of = (check: string): string =>
      findings.find((finding) => finding.check === check)?.found ?? "missing";
    assert.equal(of("privileges"), "user 65534");
    assert.match(of("daemon"), /cannot look: .*permission denied/);
    for (const check of ["kernel", "control groups", "space in /run", "bundles without a shim"]) {
      assert.notEqual(of(check), "missing", check);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
