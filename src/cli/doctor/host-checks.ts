// What a host needs to run containers with Holdfast, and whether it has it. Each check says what it found and what to do.

import { execFile } from "node:child_process";
import {
  accessSync,
  constants,
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statfsSync,
  statSync,
} from "node:fs";
import { release } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { nodeNet } from "../../platform/node.ts";
import { connectDaemon } from "../containers/connect.ts";
import { allPids } from "../shims/proc.ts";
import { shellWord } from "../text/printable.ts";
import { errorText, systemText } from "../text/problem.ts";
import { duration } from "../text/units.ts";
import { controlGroups } from "./control-groups.ts";
import type { Finding } from "./finding.ts";

const run = promisify(execFile);
/** From here on a child is reaped through its pidfd, waitid(P_PIDFD): the shim does nothing without. */
const REAPS_SINCE = [5, 4] as const;
/** LOOP_CONFIGURE. */
const LOOP_MOUNTS_SINCE = [5, 8] as const;
const INOTIFY_INSTANCES = 128;
const FREE_MEGABYTES = 32;

/** `timeoutMs` is for the daemon. */
export async function hostFindings(daemonAddress: string, timeoutMs: number): Promise<Finding[]> {
  const checks: readonly (readonly [check: string, find: () => Finding | Promise<Finding>])[] = [
    ["privileges", privileges],
    ["OCI runtime", runtime],
    ["our shim", shimBinary],
    ["kernel", () => kernel(release())],
    ["control groups", cgroups],
    ["inotify", inotify],
    ...["/run/containerd/s", "/run/containerd", "/run/holdfast"]
      .filter((path) => existsSync(path))
      .map((path) => [`permissions of ${path}`, () => directory(path)] as const),
    ["space in /run", runSpace],
    ["daemon", () => daemonSocket(daemonAddress, timeoutMs)],
  ];
  return Promise.all(checks.map(([check, find]) => guarded(check, find)));
}

/** Who may not look at one thing gets the other findings. */
async function guarded(check: string, find: () => Finding | Promise<Finding>): Promise<Finding> {
  try {
    return await find();
  } catch (error) {
    return { check, level: "hint", found: `cannot look: ${errorText(error)}` };
  }
}

function privileges(): Finding {
  const check = "privileges";
  const user = process.geteuid?.();
  if (user === 0) return { check, level: "good", found: "root" };
  return {
    check,
    level: "bad",
    found: `user ${user}`,
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

/** `version` is that of uname(2). */
export function kernel(version: string): Finding {
  const check = "kernel";
  const [major = 0, minor = 0] = version.split(/[.-]/).map(Number);
  const since = ([wantMajor, wantMinor]: readonly [number, number]): boolean =>
    major > wantMajor || (major === wantMajor && minor >= wantMinor);
  if (!since(REAPS_SINCE)) {
    return {
      check,
      level: "bad",
      found: `${version}: no waitid through a pidfd`,
      advice: `Linux ${REAPS_SINCE.join(".")} or newer is needed`,
    };
  }
  if (!since(LOOP_MOUNTS_SINCE)) {
    return {
      check,
      level: "hint",
      found: `${version}: no mounts of disk images`,
      advice: `containers whose root file system is a disk image (loop mounts) need Linux ${LOOP_MOUNTS_SINCE.join(".")}`,
    };
  }
  return { check, level: "good", found: version };
}

function cgroups(): Finding {
  return controlGroups(
    readText("/proc/self/mountinfo") ?? "",
    readText("/sys/fs/cgroup/cgroup.controllers") ?? "",
  );
}

/** Watching for OOM kills takes an instance per shim that does so. */
function inotify(): Finding {
  const check = "inotify";
  const limit = Number(readText("/proc/sys/fs/inotify/max_user_instances") ?? 0);
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
function directory(path: string): Finding {
  const check = `permissions of ${path}`;
  const stat = statSync(path);
  const found = `${(stat.mode & 0o7777).toString(8)}, owner ${stat.uid}`;
  const open = (stat.mode & 0o022) !== 0 || stat.uid !== 0;
  return open
    ? { check, level: "bad", found, advice: `chown root ${path} && chmod go-w ${path}` }
    : { check, level: "good", found };
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
      advice: `whoever connects is root here: chmod o= ${shellWord(address)}`,
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
  const daemon = await connectDaemon(address, "default", timeoutMs);
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

export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}
