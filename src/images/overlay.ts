// Snapshots on disk as overlayfs wants them: snapshots/<id>/{fs,work}. Knows directories and mounts; names, parents and labels are records
// (src/manager/store.ts). The mounts are made by whoever uses a snapshot: a shim, or a client (containerd's snapshots/overlay).
import { chmodSync, chownSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";

/** One mount(2), as the API has it. */
export interface SnapshotMount {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly options: string[];
}

/** What a snapshot takes of the disk. */
export interface SnapshotUsage {
  /** Bytes of allocated blocks. */
  readonly size: bigint;
  readonly inodes: bigint;
}

export class Overlay {
  readonly #snapshots: string;

  /** `directory` is made when it is first used. */
  constructor(directory: string) {
    this.#snapshots = join(directory, "snapshots");
  }

  /** Makes the directories of a snapshot. Its root has the parent's owner and mode, as what is written at the top of a layer stays. */
  make(id: string, kind: "active" | "view", parent: string | undefined): void {
    mkdirSync(this.#snapshots, { recursive: true, mode: 0o700 });
    const fresh = join(this.#snapshots, `new-${id}`);
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(join(fresh, "fs"), { recursive: true, mode: 0o755 });
    if (kind === "active") mkdirSync(join(fresh, "work"), { mode: 0o711 });
    chmodSync(join(fresh, "fs"), 0o755);
    if (parent !== undefined) {
      const { uid, gid, mode } = statSync(this.#fs(parent));
      chownSync(join(fresh, "fs"), uid, gid);
      chmodSync(join(fresh, "fs"), mode & 0o7777);
    }
    renameSync(fresh, join(this.#snapshots, id));
  }

  /** `parents` from the nearest to the first layer. */
  mounts(id: string, kind: "active" | "view", parents: readonly string[]): SnapshotMount[] {
    const [nearest] = parents;
    if (nearest === undefined) return [bind(this.#fs(id), kind === "view" ? "ro" : "rw")];
    if (kind === "view" && parents.length === 1) return [bind(this.#fs(nearest), "ro")];
    const lower = `lowerdir=${parents.map((parent) => this.#fs(parent)).join(":")}`;
    const upper = [`workdir=${join(this.#snapshots, id, "work")}`, `upperdir=${this.#fs(id)}`];
    const options = ["index=off", ...(kind === "active" ? upper : []), lower];
    return [{ type: "overlay", source: "overlay", target: "", options }];
  }

  /** Takes the directory out of sight at once; what it held goes with a sweep. */
  remove(id: string): void {
    try {
      renameSync(join(this.#snapshots, id), join(this.#snapshots, `rm-${id}`));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }

  /** Removes the directories that no record has. Returns how many went. */
  sweep(isKept: (id: string) => boolean): number {
    const stale = names(this.#snapshots).filter((name) => !isKept(name));
    for (const name of stale) rmSync(join(this.#snapshots, name), { recursive: true, force: true });
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
    await visit(this.#fs(id));
    return { size, inodes: BigInt(seen.size) };
  }

  #fs(id: string): string {
    return join(this.#snapshots, id, "fs");
  }
}

function bind(source: string, access: "ro" | "rw"): SnapshotMount {
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
