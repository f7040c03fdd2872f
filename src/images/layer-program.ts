// Runs holdfast-layer (native/layer): a layer into a snapshot, in a process that has that snapshot as its root, and copies of snapshots. One process a layer:
// the daemon's own memory does not grow with it.
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import type { SnapshotMount } from "./snapshotter.ts";

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

const MS_RDONLY = 1;
const MS_BIND = 4096;
const MS_REC = 16384;
/** Options that are flags of mount(2); all others are the file system's own. */
const FLAGS: Readonly<Record<string, number>> = {
  ro: MS_RDONLY,
  rw: 0,
  bind: MS_BIND,
  rbind: MS_BIND | MS_REC,
};
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
    mkdirSync(this.#scratch, { recursive: true, mode: 0o700 });
    const target = mkdtempSync(join(this.#scratch, "unpack-"));
    const input = openSync(layer, "r");
    try {
      const { entries, bytes, ratio } = this.#limits;
      const { base, args } = mountArguments(mounts);
      const text = await this.#run(["unpack", `${entries}:${bytes}:${ratio}`, target, base, ...args], input);
      return JSON.parse(text) as Unpacked;
    } finally {
      closeSync(input);
      // The mounts were the unpacker's alone.
      rmdirSync(target);
    }
  }

  /** Copies the files below `from` into the empty directory `to`, with all that belongs to them. */
  async copy(from: string, to: string): Promise<void> {
    await this.#run(["copy", from, to], "ignore");
  }

  #run(args: readonly string[], input: number | "ignore"): Promise<string> {
    return new Promise((resolve, reject) => {
      const child = spawn(this.#program, args, { stdio: [input, "pipe", "pipe"], env: {}, cwd: "/" });
      const output: Buffer[] = [];
      let errors = "";
      child.stdout?.on("data", (chunk: Buffer) => output.push(chunk));
      child.stderr?.on("data", (chunk: Buffer) => {
        if (errors.length < MAX_ERROR_BYTES) errors += chunk.toString();
      });
      child.once("error", (error) => reject(new Error(`cannot run ${this.#program}: ${error.message}`)));
      child.once("close", (status, signal) => {
        const failure = errors.trim() || `holdfast-layer ended with ${signal ?? status}`;
        if (status === 0) resolve(Buffer.concat(output).toString());
        else reject(new TtrpcError(Code.UNKNOWN, failure));
      });
    });
  }
}

/** Type, source, flags and data of each mount; overlay's directories are relative to `base`, as the kernel takes one page of them. */
function mountArguments(mounts: readonly SnapshotMount[]): { base: string; args: string[] } {
  const base = commonDirectory(mounts.flatMap(({ options }) => options.flatMap(directoriesOf)));
  const args = mounts.flatMap(({ type, source, options }) => {
    const flags = options.reduce((sum, option) => sum | (FLAGS[option] ?? 0), 0);
    const data = options
      .filter((option) => FLAGS[option] === undefined)
      .map((option) => relativeTo(base, option));
    return [type, source, String(flags), data.join(",")];
  });
  return { base: base === "" ? "/" : base, args };
}

const DIRECTORIES = /^(lowerdir|upperdir|workdir)=(.*)$/s;

function directoriesOf(option: string): string[] {
  return DIRECTORIES.exec(option)?.[2]?.split(":") ?? [];
}

function relativeTo(base: string, option: string): string {
  const found = DIRECTORIES.exec(option);
  if (base === "" || found === null) return option;
  const [, name = "", value = ""] = found;
  return `${name}=${value
    .split(":")
    .map((path) => path.slice(base.length + 1))
    .join(":")}`;
}

/** The directory that all lie in; "" if there is none but the root. */
function commonDirectory(paths: readonly string[]): string {
  const [first = "", ...rest] = paths.map((path) => path.split("/").slice(0, -1));
  if (first === "") return "";
  const same = first.findIndex((part, index) => rest.some((other) => other[index] !== part));
  return first.slice(0, same < 0 ? first.length : same).join("/");
}
