// Runs holdfast-layer (native/layer): a layer into a snapshot, in a process that has that snapshot as its root, layers from snapshots, and copies of them. One process a layer:
// the daemon's own memory does not grow with it.
import { closeSync, openSync } from "node:fs";
import { expanded } from "./expand.ts";
import { runLayer, withMountPoints } from "./layer-process.ts";
import { mountArguments, readOnly, type SnapshotMount } from "./mount.ts";

/** What a layer may be at the most. */
export interface UnpackLimits {
  readonly entries: number;
  /** Of the uncompressed layer. */
  readonly bytes: number;
  /** Uncompressed to compressed bytes, for layers over 64 MiB. */
  readonly ratio: number;
}

export const UNPACK_LIMITS: UnpackLimits = { entries: 5_000_000, bytes: 256 * 1024 ** 3, ratio: 1000 };

/** What was unpacked: the uncompressed layer's digest and size. */
export interface Unpacked {
  readonly digest: string;
  readonly size: number;
  readonly entries: number;
}

export interface DiffOptions {
  readonly compression: "none" | "gzip" | "zstd";
  /** The latest time that an entry may have, in seconds since 1970; undefined for any. */
  readonly latest: number | undefined;
}

/** Of a layer that was made: its uncompressed digest and size. */
export interface MadeLayer {
  readonly digest: string;
  readonly size: number;
}

export class LayerProgram {
  readonly #program: string;
  readonly #scratch: string;
  readonly #limits: UnpackLimits;

  /** `program` is holdfast-layer; `scratch` a directory for mount points, made when it is needed. */
  constructor(program: string, scratch: string, limits: UnpackLimits = UNPACK_LIMITS) {
    this.#program = program;
    this.#scratch = scratch;
    this.#limits = limits;
  }

  /** Unpacks the layer in the file `layer` onto `mounts`. Rejects with what is wrong with the layer; what was written until then stays in the snapshot. */
  async unpack(layer: string, mounts: readonly SnapshotMount[]): Promise<Unpacked> {
    const input = openSync(layer, "r");
    try {
      return await this.#unpack(input, mounts);
    } finally {
      closeSync(input);
    }
  }

  /** Rejects with what the kernel says against these mounts. */
  async tryMounts(mounts: readonly SnapshotMount[]): Promise<void> {
    await this.#unpack(undefined, mounts);
  }

  /** No input is an empty layer. */
  async #unpack(input: number | undefined, mounts: readonly SnapshotMount[]): Promise<Unpacked> {
    const { entries, bytes, ratio } = this.#limits;
    const { base, args } = mountArguments(mounts);
    const text = await withMountPoints(this.#scratch, 1, (target = "") =>
      runLayer({
        program: this.#program,
        args: ["unpack", `${entries}:${bytes}:${ratio}`, target, base, ...args],
        ...(input !== undefined && { input }),
      }),
    );
    return JSON.parse(text) as Unpacked;
  }

  /**
   * Writes the layer that makes `right` of `left` to `output`, piece by piece. The mounts are made read-only, so that a container may run on `right`.
   * Rejects with what cannot be in a layer, or with what `output` rejects with.
   */
  async diff(
    left: readonly SnapshotMount[],
    right: readonly SnapshotMount[],
    { compression, latest }: DiffOptions,
    output: (bytes: Uint8Array) => Promise<void>,
  ): Promise<MadeLayer> {
    const before = mountArguments(left.map(readOnly));
    const after = mountArguments(right.map(readOnly));
    const report = await withMountPoints(this.#scratch, 2, (from = "", to = "") => {
      const first = [from, before.base, String(before.args.length), ...before.args];
      const args = ["diff", compression, String(latest ?? -1), ...first, to, after.base, ...after.args];
      return runLayer({ program: this.#program, args, output });
    });
    return JSON.parse(report) as MadeLayer;
  }

  /** The bytes of an archive that may be packed as a whole. */
  expanded(archive: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    return expanded({ program: this.#program, scratch: this.#scratch }, archive);
  }

  /** Copies the files below `from` into the empty directory `to`, with all that belongs to them. */
  async copy(from: string, to: string): Promise<void> {
    await runLayer({ program: this.#program, args: ["copy", from, to] });
  }

  /** Takes away the trees of these names in `directory`, whatever a container has made of them. Rejects with what is left, when all others have gone. */
  async remove(directory: string, names: readonly string[]): Promise<void> {
    await runLayer({ program: this.#program, args: ["remove", directory, ...names] });
  }
}
