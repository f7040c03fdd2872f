// A shim's bundle as found on disk: which directory is one, and which containers of a shim's lie side by side.
import { lstatSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { BUNDLES } from "../../api/runtime-names.ts";
import { parseShimAddress, socketOf } from "../../shims/address.ts";
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

/** The socket in the file by which daemons find a shim again; undefined if there is none that makes sense (docs/shim-protocol.md). */
function namedSocket(bundle: string): string | undefined {
  const text =
    readSmallFile(join(bundle, "address"), ADDRESS_LIMIT) ??
    readSmallFile(join(bundle, "bootstrap.json"), ADDRESS_LIMIT);
  try {
    return text === undefined ? undefined : socketOf(parseShimAddress(text.trim(), bundle).address);
  } catch {
    return undefined;
  }
}

/** The containers of a namespace by the socket that their bundles name; each namespace is read once. */
export class Bundles {
  readonly #namespaces = new Map<string, Namespace>();

  /** Ids of the bundles beside `bundle` that name one of `sockets`: a pod's shim serves several. */
  servedBy(sockets: readonly string[], bundle: string): string[] {
    const { ids } = this.#around(bundle);
    return sockets.flatMap((socket) => ids.get(socket) ?? []).sort();
  }

  /** The socket that the bundle names; undefined if it names none. */
  socketOf(bundle: string): string | undefined {
    return this.#around(bundle).sockets.get(basename(bundle));
  }

  #around(bundle: string): Namespace {
    const directory = dirname(bundle);
    const found = this.#namespaces.get(directory) ?? readNamespace(directory);
    this.#namespaces.set(directory, found);
    return found;
  }
}

interface Namespace {
  readonly sockets: ReadonlyMap<string, string>;
  readonly ids: ReadonlyMap<string, readonly string[]>;
}

function readNamespace(directory: string): Namespace {
  const sockets = new Map<string, string>();
  const ids = new Map<string, string[]>();
  for (const id of list(directory)) {
    const socket = namedSocket(join(directory, id));
    if (socket === undefined) continue;
    sockets.set(id, socket);
    ids.set(socket, [...(ids.get(socket) ?? []), id]);
  }
  return { sockets, ids };
}

/** Empty for what cannot be read. */
export function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
