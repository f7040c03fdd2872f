// The control group that a process is in, and ending all that is in it without anybody's help.
import { readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { parseMountinfo } from "../../platform/mountinfo.ts";

const FROZEN_POLLS = 50;

export interface ControlGroup {
  readonly directory: string;
  readonly version: 1 | 2;
}

/** The group of the process by which all of its container can be ended; undefined if `others` (processes of ours) are in it or below it. */
export function ownGroupOf(pid: number, others: readonly number[]): ControlGroup | undefined {
  const mounts = parseMountinfo(read("/proc/self/mountinfo"));
  for (const [version, is] of [
    [1, (controllers: string) => controllers.split(",").includes("freezer")],
    [2, (controllers: string) => controllers === ""],
  ] as const) {
    const path = pathOf(pid, is);
    if (path === undefined || path === "/" || path.startsWith("/..")) continue;
    const shared = others.some((other) => {
      const theirs = pathOf(other, is);
      return theirs === undefined || `${theirs}/`.startsWith(`${path}/`);
    });
    if (shared) continue;
    const mount = mounts.findLast(({ type, options }) =>
      version === 2 ? type === "cgroup2" : type === "cgroup" && options.includes("freezer"),
    );
    if (mount === undefined) continue;
    const below = relative(mount.root, path);
    if (!below.startsWith("..")) return { directory: join(mount.point, below), version };
  }
  return undefined;
}

/** Of the hierarchy whose line in /proc/PID/cgroup `is` recognises by its controllers. */
function pathOf(pid: number, is: (controllers: string) => boolean): string | undefined {
  for (const line of read(`/proc/${pid}/cgroup`).split("\n")) {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (controllers !== undefined && path !== undefined && is(controllers)) return path;
  }
  return undefined;
}

/** The processes in it, not those in groups below it. */
export function processesIn({ directory }: ControlGroup): number[] {
  return read(join(directory, "cgroup.procs")).split("\n").filter(Boolean).map(Number);
}

/** Sends a signal to all that is in it. They are frozen meanwhile: a number that is read stays that of the same process, and nobody forks. */
export async function signalGroup(group: ControlGroup, signal: number): Promise<void> {
  if (signal === SIGKILL && group.version === 2 && write(join(group.directory, "cgroup.kill"), "1")) return;
  const [file, frozen, thawed] =
    group.version === 2 ? ["cgroup.freeze", "1", "0"] : ["freezer.state", "FROZEN", "THAWED"];
  const path = join(group.directory, file);
  write(path, frozen);
  try {
    // What is in an uninterruptible wait freezes later, or never: it is killed all the same.
    for (let turn = 0; turn < FROZEN_POLLS && !isFrozen(group); turn++) await pause();
    for (const pid of processesIn(group)) send(pid, signal);
  } finally {
    write(path, thawed);
  }
}

const SIGKILL = 9;

function isFrozen({ directory, version }: ControlGroup): boolean {
  return version === 2
    ? /^frozen 1$/m.test(read(join(directory, "cgroup.events")))
    : read(join(directory, "freezer.state")).trim() === "FROZEN";
}

/** Nothing happens to a process that has gone. */
export function send(pid: number, signal: number): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

export function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 10));
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function write(path: string, text: string): boolean {
  try {
    writeFileSync(path, text, { flag: "r+" });
    return true;
  } catch {
    return false;
  }
}
