// Files of a container, looked at and copied by holdfast-layer with the container's root as its own: no link leads out of it.
import type { Readable } from "node:stream";
import { runLayer, withMountPoints } from "./layer-process.ts";
import { mountArguments, readOnly, type SnapshotMount } from "./mount.ts";

/** A root directory as it is, or what it is made of. */
export type FileRoot = { readonly directory: string } | { readonly mounts: readonly SnapshotMount[] };

/** What is at a path, links followed; "dangling" for a link that leads nowhere. */
export type FileKind = "file" | "directory" | "other" | "dangling" | "none";

/** One difference between two trees: added, changed, deleted, or a directory that is the same itself and has differences in it. */
export interface Change {
  readonly kind: "A" | "C" | "D" | "P";
  readonly path: string;
}

export class RootFiles {
  readonly #program: string;
  readonly #scratch: string;

  /** `program` is holdfast-layer; `scratch` a directory for mount points, made when it is needed. */
  constructor(program: string, scratch: string) {
    this.#program = program;
    this.#scratch = scratch;
  }

  /** Rejects if that cannot be told. */
  async look(root: FileRoot, path: string): Promise<FileKind> {
    const text = await this.#run("look", root, [path], {});
    return (JSON.parse(text) as { kind: FileKind }).kind;
  }

  /** Hands on a tar of what is at `path`; of what is in it if that ends by "/.". `follow` the link that it may be. */
  async take(
    root: FileRoot,
    path: string,
    follow: boolean,
    output: (bytes: Uint8Array) => Promise<void>,
  ): Promise<void> {
    await this.#run("take", root, [path, follow ? "1" : "0"], { output });
  }

  /** Unpacks a tar into the directory `path`. `name` takes the place of the first part of every path in it, and `owner` (UID:GID) of the owners. */
  async put(
    root: FileRoot,
    path: string,
    input: Readable,
    {
      name = "",
      owner = "",
    }: { readonly name?: string | undefined; readonly owner?: string | undefined } = {},
  ): Promise<void> {
    await this.#run("put", root, [path, name, owner], { input });
  }

  /** What makes `right` of `left`, in the order of the paths; a directory comes before what is in it. */
  async changes(left: readonly SnapshotMount[], right: readonly SnapshotMount[]): Promise<Change[]> {
    const text = await withMountPoints(this.#scratch, 2, (from = "", to = "") => {
      const before = mountArguments(left.map(readOnly));
      const after = mountArguments(right.map(readOnly));
      const words = [
        from,
        before.base,
        String(before.args.length),
        ...before.args,
        to,
        after.base,
        ...after.args,
      ];
      return runLayer({ program: this.#program, args: ["diff", "list", "-1", ...words] });
    });
    return text
      .split("\0")
      .filter((line) => line !== "")
      .map((line) => ({ kind: line.slice(0, 1) as Change["kind"], path: `/${line.slice(1)}` }));
  }

  #run(
    verb: string,
    root: FileRoot,
    words: readonly string[],
    more: { input?: Readable; output?: (bytes: Uint8Array) => Promise<void> },
  ): Promise<string> {
    const program = this.#program;
    if ("directory" in root)
      return runLayer({ program, args: [verb, root.directory, "/", ...words], ...more });
    const { base, args } = mountArguments(root.mounts);
    return withMountPoints(this.#scratch, 1, (directory = "") =>
      runLayer({ program, args: [verb, directory, base, ...words, ...args], ...more }),
    );
  }
}
