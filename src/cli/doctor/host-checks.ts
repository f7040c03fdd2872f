// What a host needs to run containers with Holdfast, and whether it has it. Each check says what it found and what to do. Used by `doctor`.

import { execFile } from "node:child_process";
import {
  accessSync,
  constants,
  readdirSync,
  readFileSync,
  readlinkSync,
  statfsSync,
  statSync,
} from "node:fs";
import { release } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { parseMountinfo } from "../../platform/mountinfo.ts";
import { nodeNet } from "../../platform/node.ts";
import { DaemonClient } from "../containers/daemon-client.ts";
import { allPids } from "../shims/proc.ts";
import { errorText, systemText } from "../text/problem.ts";
import { duration } from "../text/units.ts";

export interface Finding {
  readonly check: string;
  /** "bad" makes doctor fail; "hint" is worth knowing. */
  readonly level: "good" | "hint" | "bad";
  readonly found: string;
  /** What to do about it. */
  readonly advice?: string | undefined;
  /** All that `found` names the first of. */
  readonly items?: readonly string[] | undefined;
}

const run = promisify(execFile);
/** Kernels from which on a process is watched and its exit status read without being its parent. */
const PIDFD_SINCE = [5, 3] as const;
const PIDFD_EXIT_SINCE = [6, 15] as const;
const WANTED_CONTROLLERS = ["memory", "cpu", "pids", "freezer"] as const;
const INOTIFY_INSTANCES = 128;
const FREE_MEGABYTES = 32;

/** `timeoutMs` is for the daemon. */
export async function hostFindings(daemonAddress: string, timeoutMs: number): Promise<Finding[]> {
  return [
    privileges(),
    await runtime(),
    await shimBinary(),
    kernel(),
    cgroups(),
    inotify(),
    ...directories(),
    runSpace(),
    await daemonSocket(daemonAddress, timeoutMs),
  ];
}

function privileges(): Finding {
  const check = "privileges";
  if (process.getuid?.() === 0) return { check, level: "good", found: "root" };
  return {
    check,
    level: "bad",
    found: `user ${process.getuid?.()}`,
    advice: "run doctor as root: others see too little",
  };
}

async function runtime(): Promise<Finding> {
  const check = "OCI runtime";
  const path = onPath("runc");
  if (path === undefined) {
    return { check, level: "bad", found: "no runc on PATH", advice: "install it: apt-get install runc" };
  }
  try {
    const { stdout } = await run(path, ["--version"]);
    return { check, level: "good", found: `${path}, ${stdout.split("\n")[0] ?? ""}` };
  } catch (error) {
    return {
      check,
      level: "bad",
      found: `${path} does not run: ${systemText(error)}`,
      advice: "reinstall runc",
    };
  }
}

async function shimBinary(): Promise<Finding> {
  const check = "our shim";
  const name = "containerd-shim-holdfast-v2";
  const path = onPath(name);
  if (path === undefined) {
    return {
      check,
      level: "hint",
      found: `no ${name} on PATH`,
      advice: `put ${name} into /usr/local/bin, where daemons look`,
    };
  }
  try {
    const { stdout } = await run(path, ["-v"]);
    return { check, level: "good", found: `${path}, ${stdout.trim().replace(/\s+/g, " ")}` };
  } catch (error) {
    return {
      check,
      level: "bad",
      found: `${path} does not run: ${systemText(error)}`,
      advice: "build it anew: npm run build",
    };
  }
}

function kernel(): Finding {
  const check = "kernel";
  const version = release();
  const [major = 0, minor = 0] = version.split(/[.-]/).map(Number);
  const since = ([wantMajor, wantMinor]: readonly [number, number]): boolean =>
    major > wantMajor || (major === wantMajor && minor >= wantMinor);
  if (!since(PIDFD_SINCE)) {
    return {
      check,
      level: "bad",
      found: `${version}: no pidfd`,
      advice: `Linux ${PIDFD_SINCE.join(".")} or newer is needed`,
    };
  }
  const exits = since(PIDFD_EXIT_SINCE);
  return {
    check,
    level: exits ? "good" : "hint",
    found: `${version}: pidfd${exits ? ", exit status through a pidfd (PIDFD_GET_INFO)" : ""}`,
    advice: exits
      ? undefined
      : `from Linux ${PIDFD_EXIT_SINCE.join(".")} on, the exit status of a container outlives even its shim`,
  };
}

function cgroups(): Finding {
  const check = "control groups";
  const mounts = parseMountinfo(read("/proc/self/mountinfo") ?? "");
  const v2 = mounts.filter(({ type }) => type === "cgroup2");
  const v1 = mounts.filter(({ type }) => type === "cgroup");
  const mode = v1.length === 0 ? "v2" : v2.length === 0 ? "v1" : "v1 (hybrid)";
  if (v1.length + v2.length === 0) {
    return { check, level: "bad", found: "none mounted", advice: "mount -t cgroup2 none /sys/fs/cgroup" };
  }
  const offered =
    v1.length === 0
      ? `${read("/sys/fs/cgroup/cgroup.controllers") ?? ""} freezer`
      : v1.flatMap(({ options }) => options).join(",");
  const missing = WANTED_CONTROLLERS.filter((name) => !offered.split(/[\s,]+/).includes(name));
  if (missing.length === 0) return { check, level: "good", found: mode };
  const advice =
    "limits and figures of these do not work: look for cgroup_disable= on the kernel's command line";
  return { check, level: "bad", found: `${mode}, without ${missing.join(", ")}`, advice };
}

/** Watching for OOM kills takes an instance per shim that does so. */
function inotify(): Finding {
  const check = "inotify";
  const limit = Number(read("/proc/sys/fs/inotify/max_user_instances") ?? 0);
  const used = allPids().reduce((sum, pid) => sum + inotifyInstances(pid), 0);
  const found = `${used} of ${limit} instances in use`;
  const advice = "sysctl fs.inotify.max_user_instances=1024";
  if (used >= limit) return { check, level: "bad", found, advice };
  return limit < INOTIFY_INSTANCES || used > limit * 0.8
    ? { check, level: "hint", found, advice }
    : { check, level: "good", found };
}

function inotifyInstances(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`) === "anon_inode:inotify";
      } catch {
        return false;
      }
    }).length;
  } catch {
    return 0;
  }
}

/** Who may write to these may take over containers. */
function directories(): Finding[] {
  return ["/run/containerd/s", "/run/containerd", "/run/holdfast"].flatMap((path): Finding[] => {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return [];
    const check = `permissions of ${path}`;
    const mode = `${(stat.mode & 0o7777).toString(8)}, owner ${stat.uid}`;
    const open = (stat.mode & 0o022) !== 0 || stat.uid !== 0;
    return open
      ? [{ check, level: "bad", found: mode, advice: `chown root ${path} && chmod go-w ${path}` }]
      : [{ check, level: "good", found: mode }];
  });
}

function runSpace(): Finding {
  const check = "space in /run";
  const { bavail, bsize } = statfsSync("/run");
  const free = Math.round((bavail * bsize) / 2 ** 20);
  const found = `${free} MiB free`;
  return free < FREE_MEGABYTES
    ? { check, level: "bad", found, advice: "bundles and fifos live there: see du -x /run" }
    : { check, level: "good", found };
}

async function daemonSocket(address: string, timeoutMs: number): Promise<Finding> {
  const check = "daemon";
  const stat = statSync(address, { throwIfNoEntry: false });
  if (stat === undefined) {
    return {
      check,
      level: "hint",
      found: `no socket at ${address}`,
      advice: "start holdfastd, or give --address; shims can be seen without",
    };
  }
  if ((stat.mode & 0o007) !== 0) {
    return {
      check,
      level: "bad",
      found: `${address} is open to everybody`,
      advice: `whoever connects is root here: chmod o= ${address}`,
    };
  }
  try {
    (await nodeNet.connect(address)).close();
  } catch (error) {
    return {
      check,
      level: "bad",
      found: `${address}: ${systemText(error)}`,
      advice: "a stale socket: start the daemon again",
    };
  }
  return daemonAnswer(check, address, timeoutMs);
}

async function daemonAnswer(check: string, address: string, timeoutMs: number): Promise<Finding> {
  const daemon = await DaemonClient.connect(address, "default", timeoutMs);
  const asked = performance.now();
  try {
    const { version } = await daemon.version.version({});
    const took = duration(performance.now() - asked);
    return { check, level: "good", found: `${address} answers in ${took}: version ${version}` };
  } catch (error) {
    return {
      check,
      level: "bad",
      found: `${address} takes connections and does not answer: ${errorText(error)}`,
      advice: "look at its log; containers go on while it is started again",
    };
  } finally {
    daemon.close();
  }
}

function onPath(name: string): string | undefined {
  return (process.env.PATH ?? "")
    .split(delimiter)
    .map((directory) => join(directory, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}
