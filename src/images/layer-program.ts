// Runs holdfast-layer (native/layer): a layer into a snapshot, in a process that has that snapshot as its root, layers from snapshots, and copies of them. One process a layer:
// the daemon's own memory does not grow with it.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { Code, TtrpcError } from "../ttrpc/status.ts";
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

/** An error's text is a line or two. */
const MAX_ERROR_BYTES = 4096;

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
    await this.#unpack("ignore", mounts);
  }

  /** No input is an empty layer. */
  async #unpack(input: number | "ignore", mounts: readonly SnapshotMount[]): Promise<Unpacked> {
    mkdirSync(this.#scratch, { recursive: true, mode: 0o700 });
    const target = mkdtempSync(join(this.#scratch, "unpack-"));
    try {
      const { entries, bytes, ratio } = this.#limits;
      const { base, args } = mountArguments(mounts);
      const text = await this.#run(["unpack", `${entries}:${bytes}:${ratio}`, target, base, ...args], input);
      return JSON.parse(text) as Unpacked;
    } finally {
      // The mounts were the unpacker's alone.
      rmdirSync(target);
    }
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
    mkdirSync(this.#scratch, { recursive: true, mode: 0o700 });
    const targets = [left, right].map(() => mkdtempSync(join(this.#scratch, "diff-")));
    const [from = "", to = ""] = targets;
    try {
      const before = mountArguments(left.map(readOnly));
      const after = mountArguments(right.map(readOnly));
      const words = [
        ...[from, before.base, String(before.args.length), ...before.args],
        ...[to, after.base, ...after.args],
      ];
      return JSON.parse(await this.#produce(["diff", compression, String(latest ?? -1), ...words], output));
    } finally {
      for (const target of targets) rmdirSync(target);
    }
  }

  /** Copies the files below `from` into the empty directory `to`, with all that belongs to them. */
  async copy(from: string, to: string): Promise<void> {
    await this.#run(["copy", from, to], "ignore");
  }

  /** Hands on what the program writes, and returns its report. */
  async #produce(args: readonly string[], output: (bytes: Uint8Array) => Promise<void>): Promise<string> {
    const child = spawn(this.#program, args, {
      stdio: ["ignore", "pipe", "pipe", "pipe"],
      env: {},
      cwd: "/",
    });
    const ended = this.#ended(child);
    // Whoever waits for it does so below; it may reject before.
    ended.catch(() => {});
    const report: Buffer[] = [];
    (child.stdio[3] as Readable).on("data", (chunk: Buffer) => report.push(chunk));
    try {
      for await (const chunk of child.stdout as Readable) await output(chunk as Buffer);
    } catch (error) {
      child.kill("SIGKILL");
      await ended.catch(() => {});
      throw error;
    }
    await ended;
    return Buffer.concat(report).toString();
  }

  async #run(args: readonly string[], input: number | "ignore"): Promise<string> {
    const child = spawn(this.#program, args, { stdio: [input, "pipe", "pipe"], env: {}, cwd: "/" });
    const output: Buffer[] = [];
    child.stdout?.on("data", (chunk: Buffer) => output.push(chunk));
    await this.#ended(child);
    return Buffer.concat(output).toString();
  }

  /** Rejects with what the program says went wrong. */
  #ended(child: ChildProcess): Promise<void> {
    return new Promise((resolve, reject) => {
      let errors = "";
      child.stderr?.on("data", (chunk: Buffer) => {
        if (errors.length < MAX_ERROR_BYTES) errors += chunk.toString();
      });
      child.once("error", (error) => reject(new Error(`cannot run ${this.#program}: ${error.message}`)));
      child.once("close", (status, signal) => {
        const failure = errors.trim() || `holdfast-layer ended with ${signal ?? status}`;
        if (status === 0) resolve();
        else reject(new TtrpcError(Code.UNKNOWN, failure));
      });
    });
  }
}
