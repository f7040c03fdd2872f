// A shim's bundle as found on disk: which directory is one, and which containers of a shim's lie side by side.
import { lstatSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { BUNDLES } from "../../api/runtime-names.ts";
import { readSmallFile } from "./small-file.ts";

/** More than any address, and than a bootstrap.json. */
const ADDRESS_LIMIT = 4096;
const WRITABLE_BY_OTHERS = 0o022;

/** Whether a path is where daemons have bundles: …/io.containerd.runtime.v2.task/<namespace>/<id>. */
export function isBundlePath(path: string): boolean {
  return path.startsWith("/") && basename(dirname(dirname(path))) === BUNDLES;
}

/** Whether the directory and those of its namespace and its daemon are ours alone: anybody else could make what is in it. */
export function isBundle(path: string): boolean {
  if (!isBundlePath(path)) return false;
  const owner = process.geteuid?.() ?? 0;
  return [path, dirname(path), dirname(dirname(path))].every((each) => {
    const stat = lstatSync(each, { throwIfNoEntry: false });
    return stat?.isDirectory() === true && stat.uid === owner && (stat.mode & WRITABLE_BY_OTHERS) === 0;
  });
}

/** The socket in the file by which daemons reattach: docs/shim-protocol.md. */
export function namedSocket(bundle: string): string | undefined {
  const address =
    readSmallFile(join(bundle, "address"), ADDRESS_LIMIT) ??
    bootstrapAddress(readSmallFile(join(bundle, "bootstrap.json"), ADDRESS_LIMIT));
  return address?.trim().replace(/^unix:\/\//, "");
}

function bootstrapAddress(text: string | undefined): string | undefined {
  try {
    const value: unknown = JSON.parse(text ?? "");
    const { address } = value as { address?: unknown };
    return typeof address === "string" ? address : undefined;
  } catch {
    return undefined;
  }
}

/** The containers of a namespace by the socket that their bundles name; each namespace is read once. */
export class Bundles {
  readonly #namespaces = new Map<string, ReadonlyMap<string, readonly string[]>>();

  /** Ids of the bundles beside `bundle` that name one of `sockets`: a pod's shim serves several. */
  servedBy(sockets: readonly string[], bundle: string): string[] {
    const directory = dirname(bundle);
    let ids = this.#namespaces.get(directory);
    if (ids === undefined) {
      ids = idsBySocket(directory);
      this.#namespaces.set(directory, ids);
    }
    const found = ids;
    return sockets.flatMap((socket) => found.get(socket) ?? []).sort();
  }
}

function idsBySocket(directory: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const id of list(directory)) {
    const socket = namedSocket(join(directory, id));
    if (socket !== undefined) found.set(socket, [...(found.get(socket) ?? []), id]);
  }
  return found;
}

/** Empty for what cannot be read. */
export function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
