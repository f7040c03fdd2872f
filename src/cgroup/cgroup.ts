// The cgroup of one container: its figures and its OOM kills, whichever version the host has.
import { METRICS_V1, METRICS_V2 } from "../api/any.ts";
import type { Any } from "../api/generated/google/protobuf/any.ts";
import { errorText, type Log } from "../log/log.ts";
import { fieldsOnce } from "../platform/json-fields.ts";
import type { Platform } from "../platform/platform.ts";
import type { CgroupFiles } from "./files.ts";
import { type CgroupPaths, parseCgroupPaths, parseHierarchy } from "./hierarchy.ts";
import { type OomCounts, OomWatch, oomSource } from "./oom.ts";
import { metricsV1 } from "./stats-v1.ts";
import { metricsV2 } from "./stats-v2.ts";

/** What a successor of the shim needs to watch the same cgroup. */
export interface CgroupRecord {
  /** The text of /proc/PID/cgroup: the process may be gone. */
  readonly membership: string;
  readonly oomKills?: string | undefined;
  /** In the group around it, when both were last read. */
  readonly oomKillsAround?: string | undefined;
}

export class Cgroup {
  readonly #platform: Platform;
  /** The text of /proc/PID/cgroup of its first process. */
  readonly membership: string;
  readonly #paths: CgroupPaths;
  readonly #oom: OomWatch | undefined;
  /** Of its record. */
  readonly #fixed: () => string;

  constructor(platform: Platform, membership: string, paths: CgroupPaths, oom: OomWatch | undefined) {
    this.#platform = platform;
    this.membership = membership;
    this.#fixed = fieldsOnce(() => ({ membership }));
    this.#paths = paths;
    this.#oom = oom;
  }

  /** The figures of now, as the message that containerd knows. What the kernel does not tell is left out. */
  stats(): Any {
    this.#oom?.check();
    const files = cgroupFiles(this.#platform);
    return this.#paths.version === 1
      ? { typeUrl: METRICS_V1, value: metricsV1(this.#paths, files) }
      : { typeUrl: METRICS_V2, value: metricsV2(this.#paths, files) };
  }

  /** Its CgroupRecord as JSON. */
  record(): string {
    const { published, around } = this.#oom?.counts ?? {};
    let fields = this.#fixed();
    if (published !== undefined) fields += `,"oomKills":"${published}"`;
    if (around !== undefined) fields += `,"oomKillsAround":"${around}"`;
    return `{${fields}}`;
  }

  /** Publishes an OOM kill that has not been published, before it returns. `wasKilled`: a process has ended by SIGKILL, which was not asked of us. */
  checkOom(wasKilled = false): void {
    this.#oom?.settle(wasKilled);
  }

  close(): void {
    this.#oom?.close();
  }
}

/** What the cgroups of a shim's containers share. */
interface Surroundings {
  readonly platform: Platform;
  readonly log: Log;
  readonly oomWatches: Set<OomWatch>;
}

/** The cgroup that a process is in, watched for OOM kills; undefined if the host has none or the process is gone. `kept` is an earlier shim's. */
export function findCgroup(
  { platform, log, oomWatches }: Surroundings,
  pid: number,
  onOom: () => void,
  kept?: CgroupRecord,
): Cgroup | undefined {
  const files = cgroupFiles(platform);
  const hierarchy = parseHierarchy(files.read("/proc/self/mountinfo") ?? "");
  const membership = kept?.membership ?? files.read(`/proc/${pid}/cgroup`);
  if (hierarchy === undefined || membership === undefined) return undefined;
  const paths = parseCgroupPaths(hierarchy, membership);
  const source = oomSource(paths);
  let watch: OomWatch | undefined;
  try {
    if (source !== undefined) watch = new OomWatch(source, platform, onOom, countsOf(kept), oomWatches);
  } catch (error) {
    log.warning("cannot watch for OOM kills", { pid, error: errorText(error) });
  }
  return new Cgroup(platform, membership, paths, watch);
}

function countsOf(kept: CgroupRecord | undefined): OomCounts | undefined {
  if (kept?.oomKills === undefined) return undefined;
  const { oomKills, oomKillsAround } = kept;
  return {
    published: BigInt(oomKills),
    around: oomKillsAround === undefined ? undefined : BigInt(oomKillsAround),
  };
}

/** Those of the cgroup of that path that there are; with `everywhere` also in the hierarchy of a hybrid host that counts nothing. */
function directoriesOf({ files }: Platform, path: string, everywhere = false): string[] {
  const { mode, v1 = [], v2 } = parseHierarchy(files.read("/proc/self/mountinfo")) ?? {};
  const mounts = mode === "unified" ? [] : [...v1];
  if (v2 !== undefined && (everywhere || mode === "unified")) mounts.push(v2);
  const slash = path.startsWith("/") ? "" : "/";
  const directories = mounts.map((mount) => `${mount.path}${slash}${path}`);
  return directories.filter((directory) => files.stat(directory) !== null);
}

/** How often a cgroup is tried to be removed whose last processes are about to end, and with what pauses in ms. */
const REMOVALS = 50;
const REMOVAL_PAUSE = 20;

/**
 * Removes the cgroup of that path, in every hierarchy, which a runtime has left that was killed before it could note what it made. One that is somebody's
 * has processes in it, or cgroups below, and stays.
 */
export async function removeCgroup(platform: Platform, path: string): Promise<void> {
  if (path === "" || path === "/") return;
  for (let attempt = 1; ; attempt++) {
    for (const directory of directoriesOf(platform, path, true)) {
      try {
        platform.files.removeDirectory(directory);
      } catch {
        // It is looked for once more.
      }
    }
    if (attempt === REMOVALS || directoriesOf(platform, path, true).length === 0) return;
    await new Promise<void>((resolve) => platform.clock.after(REMOVAL_PAUSE, resolve));
  }
}

/** Puts processes (0 is none) into the cgroup of that path, in every hierarchy; the empty path changes nothing. Throws if it cannot be joined. */
export function joinCgroup(platform: Platform, path: string, pids: readonly number[]): void {
  if (path === "") return;
  const present = directoriesOf(platform, path);
  if (present.length === 0) throw new Error(`failed to join cgroup ${path}: no such cgroup`);
  for (const directory of present) {
    for (const pid of pids) if (pid > 0) platform.files.write(`${directory}/cgroup.procs`, String(pid));
  }
}

/** A file of a cgroup that is gone, or that its controller does not have, reads as absent. */
function cgroupFiles(platform: Platform): CgroupFiles {
  return {
    read(path) {
      try {
        return platform.files.read(path);
      } catch {
        return undefined;
      }
    },
    list(path) {
      try {
        return platform.files.list(path);
      } catch {
        return [];
      }
    },
  };
}
