// Snapshots as overlayfs wants them: snapshots/<id>/{fs,work} (containerd's snapshots/overlay).
import { chmodSync, chownSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import type { LayerProgram } from "./layer-program.ts";
import type { SnapshotMount } from "./mount.ts";
import { bind, type SnapshotKind, Snapshotter } from "./snapshotter.ts";

/** As many lower directories as the kernel takes (its OVL_MAX_STACK). */
const MAX_LOWER = 500;

export class Overlay extends Snapshotter {
  #fault: Promise<string | undefined> | undefined;

  /** An overlay cannot stand on every file system (another overlay, say): one is mounted to see. */
  override fault(program: LayerProgram): Promise<string | undefined> {
    this.#fault ??= this.#tryMount(program);
    return this.#fault;
  }

  async #tryMount(program: LayerProgram): Promise<string | undefined> {
    const place = (name: string): string => join(this.directory, "check", name);
    try {
      for (const name of ["lower", "upper", "work"]) mkdirSync(place(name), { recursive: true, mode: 0o700 });
      const options = [
        `workdir=${place("work")}`,
        `upperdir=${place("upper")}`,
        `lowerdir=${place("lower")}`,
      ];
      await program.tryMounts([{ type: "overlay", source: "overlay", target: "", options }]);
      return undefined;
    } catch (error) {
      return TtrpcError.from(error).rawMessage;
    } finally {
      rmSync(join(this.directory, "check"), { recursive: true, force: true });
    }
  }

  /**
   * Makes the directories of a snapshot. Its root has the parent's owner and mode, as what is written at the top of a layer stays. Rejects with
   * FAILED_PRECONDITION if there are more parents than can be mounted.
   */
  override async make(id: string, kind: SnapshotKind, parents: readonly string[]): Promise<void> {
    if (parents.length > MAX_LOWER) {
      const text = `a snapshot on ${parents.length} layers: an overlay can have ${MAX_LOWER}: failed precondition`;
      throw new TtrpcError(Code.FAILED_PRECONDITION, text);
    }
    mkdirSync(this.snapshots, { recursive: true, mode: 0o700 });
    const fresh = join(this.snapshots, `new-${id}`);
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(join(fresh, "fs"), { recursive: true, mode: 0o755 });
    if (kind === "active") mkdirSync(join(fresh, "work"), { mode: 0o711 });
    chmodSync(join(fresh, "fs"), 0o755);
    const [parent] = parents;
    if (parent !== undefined) {
      const { uid, gid, mode } = statSync(this.files(parent));
      chownSync(join(fresh, "fs"), uid, gid);
      chmodSync(join(fresh, "fs"), mode & 0o7777);
    }
    renameSync(fresh, join(this.snapshots, id));
  }

  /** `parents` from the nearest to the first layer. */
  override mounts(id: string, kind: SnapshotKind, parents: readonly string[]): SnapshotMount[] {
    const [nearest] = parents;
    if (nearest === undefined) return [bind(this.files(id), kind === "view" ? "ro" : "rw")];
    if (kind === "view" && parents.length === 1) return [bind(this.files(nearest), "ro")];
    const lower = `lowerdir=${parents.map((parent) => this.files(parent)).join(":")}`;
    const upper = [`workdir=${join(this.snapshots, id, "work")}`, `upperdir=${this.files(id)}`];
    const options = ["index=off", ...(kind === "active" ? upper : []), lower];
    return [{ type: "overlay", source: "overlay", target: "", options }];
  }

  protected override files(id: string): string {
    return join(this.snapshots, id, "fs");
  }
}
