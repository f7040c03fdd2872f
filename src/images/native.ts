// Snapshots as plain directories, each a whole copy of its parent: for file systems on which there is no overlay (containerd's snapshots/native).
import { mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { LayerProgram } from "./layer-program.ts";
import type { SnapshotMount } from "./mount.ts";
import { bind, type SnapshotKind, Snapshotter } from "./snapshotter.ts";

export class Native extends Snapshotter {
  readonly #program: LayerProgram;

  constructor(directory: string, program: LayerProgram) {
    super(directory);
    this.#program = program;
  }

  override async make(id: string, kind: SnapshotKind, parents: readonly string[]): Promise<void> {
    const [parent] = parents;
    // A view is its parent's own directory, mounted so that nobody writes to it.
    const isCopy = kind === "active" && parent !== undefined;
    mkdirSync(this.snapshots, { recursive: true, mode: 0o700 });
    const fresh = join(this.snapshots, `new-${id}`);
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(fresh, { mode: 0o755 });
    if (isCopy) await this.#program.copy(this.files(parent), fresh);
    renameSync(fresh, this.files(id));
  }

  override mounts(id: string, kind: SnapshotKind, parents: readonly string[]): SnapshotMount[] {
    if (kind === "active") return [bind(this.files(id), "rw")];
    return [bind(this.files(parents[0] ?? id), "ro")];
  }

  protected override files(id: string): string {
    return join(this.snapshots, id);
  }
}
