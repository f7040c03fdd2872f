// What the matrix is made of: Debian's releases with the daemons that each has, and the groups of tests that each runs. Used by main.ts.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { root } from "../cache.ts";
import type { Suite } from "../debian-root.ts";

export interface Row {
  readonly name: string;
  readonly suite: Suite;
  readonly title: string;
}

export const ROWS: readonly Row[] = [
  { name: "bookworm", suite: "bookworm", title: "Debian 12" },
  { name: "trixie", suite: "trixie", title: "Debian 13" },
  { name: "sid", suite: "sid", title: "Debian sid" },
];

/** Programs that a row's tests call, and the daemons themselves. */
const PACKAGES = [
  ...["containerd", "runc", "docker.io", "docker-compose", "crun", "containernetworking-plugins", "iptables"],
  ...["busybox-static", "systemd", "procps", "bsdutils", "e2fsprogs", "mount", "util-linux", "uidmap"],
  ...["iproute2", "kmod"],
];

export function packagesOf(row: Row): string[] {
  // Since Debian 13 Docker's client is a package of its own, and gVisor and criu are there.
  return row.suite === "bookworm" ? PACKAGES : [...PACKAGES, "docker-cli", "runsc", "criu", "libcriu2"];
}

/** The packages whose versions the table shows. */
export const SHOWN: readonly string[] = ["containerd", "runc", "docker.io", "crun", "runsc", "criu"];

export interface Group {
  readonly name: string;
  readonly title: string;
  readonly files: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

function filesIn(directory: string): string[] {
  const place = join(root, "test", directory);
  if (!existsSync(place)) return [];
  const names = readdirSync(place).filter((name) => name.endsWith(".test.ts"));
  return names.sort().map((name) => join("test", directory, name));
}

export const GROUPS: readonly Group[] = [
  { name: "e2e", title: "the shim", files: filesIn("e2e") },
  { name: "keeper", title: "a shim is killed", files: filesIn("keeper") },
  { name: "failures", title: "known failures", files: filesIn("failures") },
  { name: "docker", title: "Docker", files: filesIn("docker") },
  { name: "cri", title: "CRI", files: filesIn("cri") },
  { name: "docs", title: "the pages", files: filesIn("docs") },
  { name: "runtimes", title: "other runtimes", files: filesIn("runtimes") },
].filter(({ files }) => files.length > 0);

/** The columns of the table, in their order; the virtual machine's is filled by scripts/vm. */
export const TITLES: Readonly<Record<string, string>> = Object.fromEntries([
  ...GROUPS.map(({ name, title }) => [name, title]),
  ["vm", "cgroup v2, live"],
]);

/** A short choice, for every `npm test`: one row with no more packages than it needs, and what differs most between versions. */
export const SHORT: {
  readonly row: string;
  readonly packages: readonly string[];
  readonly files: readonly string[];
} = {
  row: "trixie",
  packages: ["containerd", "runc", "busybox-static", "procps", "mount", "util-linux"],
  files: ["test/e2e/exec.test.ts", "test/e2e/restart.test.ts"],
};
