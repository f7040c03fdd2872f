// A snapshotter keeps the files of snapshots, a directory each. It knows directories and mounts; names, parents and labels are records
// (src/manager/store.ts). The mounts are made by whoever uses a snapshot: a shim, or a client. overlay.ts and native.ts are the two that there are.
import { existsSync, readdirSync, renameSync, rmSync } from "node:fs";
import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import type { LayerProgram } from "./layer-program.ts";
import type { SnapshotMount } from "./mount.ts";

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
    return [id, `rm-${id}`].some((name) => existsSync(join(this.snapshots, name)));
  }

  /** Takes the directory out of sight at once; what it held goes with a sweep. */
  remove(id: string): void {
    try {
      renameSync(join(this.snapshots, id), join(this.snapshots, `rm-${id}`));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }

  /** Removes the directories that no record has. Returns how many went. */
  sweep(isKept: (id: string) => boolean): number {
    const stale = names(this.snapshots).filter((name) => !isKept(name));
    for (const name of stale) rmSync(join(this.snapshots, name), { recursive: true, force: true });
    return stale.length;
  }

  /** Counts each inode once, whatever its number of names. */
  async usage(id: string): Promise<SnapshotUsage> {
    const seen = new Set<string>();
    let size = 0n;
    const count = async (path: string): Promise<void> => {
      const { dev, ino, blocks } = await lstat(path, { bigint: true });
      const key = `${dev}:${ino}`;
      if (seen.has(key)) return;
      seen.add(key);
      size += blocks * 512n;
    };
    const visit = async (path: string): Promise<void> => {
      await count(path);
      for await (const entry of await opendir(path)) {
        const child = join(path, entry.name);
        if (entry.isDirectory()) await visit(child);
        else await count(child);
      }
    };
    await visit(this.files(id));
    return { size, inodes: BigInt(seen.size) };
  }
}

export function bind(source: string, access: "ro" | "rw"): SnapshotMount {
  return { type: "bind", source, target: "", options: [access, "rbind"] };
}

function names(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
