// A snapshotter keeps the files of snapshots, a directory each. It knows directories and mounts; names, parents and labels are records
// (src/manager/records/store.ts). The mounts are made by whoever uses a snapshot: a shim, or a client. overlay.ts and native.ts are the two that there are.
import { type BigIntStats, existsSync, lstatSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { isSystemError } from "../platform/platform.ts";
import type { LayerProgram } from "./layer-program.ts";
import type { SnapshotMount } from "./mount.ts";

/** How long files are looked at before somebody else has a turn, in ms. */
const SLICE_MS = 5;

/** How the directories are called that are out of sight. */
const REMOVED = "rm-";
/** The arguments of one process. */
const REMOVED_AT_ONCE = 500;

/** What a snapshot takes of the disk. */
export interface SnapshotUsage {
  /** Bytes of allocated blocks. */
  readonly size: bigint;
  readonly inodes: bigint;
}

export type SnapshotKind = "active" | "view";

export abstract class Snapshotter {
  readonly directory: string;
  protected readonly snapshots: string;

  /** `directory` is made when it is first used. */
  constructor(directory: string) {
    this.directory = directory;
    this.snapshots = join(directory, "snapshots");
  }

  /** Why it cannot be used on this host; undefined if it can. */
  async fault(_program: LayerProgram): Promise<string | undefined> {
    return undefined;
  }

  /** Makes the directory of a snapshot; `parents` from the nearest to the first. */
  abstract make(id: string, kind: SnapshotKind, parents: readonly string[]): Promise<void>;

  abstract mounts(id: string, kind: SnapshotKind, parents: readonly string[]): SnapshotMount[];

  /** Where a snapshot's own files are. */
  protected abstract files(id: string): string;

  /** Whether a directory of that name is there, or has been: a daemon that was killed leaves some that are on no record. */
  has(id: string): boolean {
    return [id, `${REMOVED}${id}`].some((name) => existsSync(join(this.snapshots, name)));
  }

  /** Takes the directory out of sight at once; what it held goes with clear(). */
  remove(id: string): void {
    try {
      renameSync(join(this.snapshots, id), join(this.snapshots, `${REMOVED}${id}`));
    } catch (error) {
      // One of that name that could not be removed has to go first; the next sweep finds this one.
      if (!hasCode(error, "ENOENT", "ENOTEMPTY", "EEXIST")) throw error;
    }
  }

  /** The same for all directories that no record has. */
  sweep(isKept: (id: string) => boolean): void {
    const stale = names(this.snapshots).filter((name) => !name.startsWith(REMOVED) && !isKept(name));
    for (const name of stale) this.remove(name);
  }

  /** Removes what is out of sight, in a process of its own. Rejects with what cannot be removed, when all else has gone. */
  async clear(program: LayerProgram): Promise<void> {
    const removed = names(this.snapshots).filter((name) => name.startsWith(REMOVED));
    for (let at = 0; at < removed.length; at += REMOVED_AT_ONCE)
      await program.remove(this.snapshots, removed.slice(at, at + REMOVED_AT_ONCE));
  }

  /** Counts each inode once, whatever its number of names. */
  async usage(id: string): Promise<SnapshotUsage> {
    const linked = new Set<string>();
    let [size, inodes] = [0n, 0n];
    let began = performance.now();
    const waiting = [this.files(id)];
    for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
      const about = look(path);
      if (about === undefined) continue;
      if (about.isDirectory()) for (const name of names(path)) waiting.push(join(path, name));
      else if (about.nlink > 1n) {
        const key = `${about.dev}:${about.ino}`;
        if (linked.has(key)) continue;
        linked.add(key);
      }
      size += about.blocks * 512n;
      inodes++;
      // A call for each file that waits for its answer takes ten times as long; a daemon that answers nobody, too long.
      if (performance.now() - began > SLICE_MS) {
        await new Promise((resolve) => setImmediate(resolve));
        began = performance.now();
      }
    }
    return { size, inodes };
  }
}

export function bind(source: string, access: "ro" | "rw"): SnapshotMount {
  return { type: "bind", source, target: "", options: [access, "rbind"] };
}

/** undefined for what a container has taken away meanwhile, or has put deeper than a path can be long. */
function look(path: string): BigIntStats | undefined {
  try {
    return lstatSync(path, { bigint: true });
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "ENAMETOOLONG")) return undefined;
    throw error;
  }
}

function names(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return [];
    throw error;
  }
}

function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return codes.some((code) => isSystemError(error, code));
}
