// Finds every shim on this host through /proc: ours, Go's, whoever's daemon started them. Used by `shims`, `shim`, `doctor`.
import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import {
  allPids,
  argumentsOf,
  directoryOf,
  executableOf,
  listeningSockets,
  type MemoryUse,
  memoryOf,
  type ProcessStat,
  socketsOf,
  statOf,
} from "./proc.ts";

const PREFIX = "containerd-shim-";
/** Words on a shim's command line that make it something other than a server. */
const SHORT_LIVED: readonly string[] = ["delete"];

export interface ShimProcess {
  readonly pid: number;
  /** What its program is called after "containerd-shim-": "holdfast-v2", "runc-v2". */
  readonly kind: string;
  readonly executable: string;
  /** Of its command line: the container or pod that it was started for. */
  readonly id: string;
  readonly namespace: string;
  /** The daemon's socket. */
  readonly daemon: string;
  readonly stat: ProcessStat;
  readonly memory: MemoryUse | undefined;
  readonly bundle: string;
  readonly bundleRemoved: boolean;
  /** Where it takes calls; empty while it starts. */
  readonly sockets: readonly string[];
  /** Ids of the containers whose bundles name its socket. */
  readonly containers: readonly string[];
}

/** Every shim that is running, by namespace and id. Needs root to see those of others. */
export function findShims(): ShimProcess[] {
  const sockets = listeningSockets();
  const found = allPids()
    .map((pid) => shimProcess(pid, sockets))
    .filter((shim) => shim !== undefined);
  return found.sort((a, b) => order(a.namespace, b.namespace) || order(a.id, b.id) || a.pid - b.pid);
}

/** The shim of that pid, undefined if it is none. */
export function shimProcess(
  pid: number,
  sockets: ReadonlyMap<string, string> = listeningSockets(),
): ShimProcess | undefined {
  const executable = executableOf(pid);
  if (executable === undefined || !basename(executable).startsWith(PREFIX)) return undefined;
  const argv = argumentsOf(pid);
  const stat = statOf(pid);
  if (stat === undefined || argv.some((word) => SHORT_LIVED.includes(word))) return undefined;
  const held = socketsOf(pid, sockets);
  const directory = directoryOf(pid);
  const id = flag(argv, "id");
  const bundle = directory?.path ?? "";
  return {
    pid,
    kind: basename(executable).slice(PREFIX.length),
    executable,
    id,
    namespace: flag(argv, "namespace"),
    daemon: flag(argv, "address"),
    stat,
    memory: memoryOf(pid),
    bundle,
    bundleRemoved: directory?.removed ?? true,
    sockets: held,
    containers: servedContainers(bundle, held),
  };
}

/** The socket to call: the one that its bundle names, where it listens on several. */
export function mainSocket(shim: ShimProcess): string | undefined {
  const named = namedSocket(shim.bundle);
  return named !== undefined && shim.sockets.includes(named) ? named : shim.sockets[0];
}

/** The value of a flag in any of Go's spellings: -id x, --id x, -id=x. */
function flag(argv: readonly string[], name: string): string {
  for (const [index, word] of argv.entries()) {
    const bare = word.replace(/^--?/, "");
    if (bare === word) continue;
    if (bare === name) return argv[index + 1] ?? "";
    if (bare.startsWith(`${name}=`)) return bare.slice(name.length + 1);
  }
  return "";
}

/** A pod's shim serves several: their bundles lie side by side and name the same socket. */
function servedContainers(bundle: string, sockets: readonly string[]): string[] {
  const parent = dirname(bundle);
  let ids: string[];
  try {
    ids = readdirSync(parent);
  } catch {
    return [];
  }
  return ids.filter((id) => sockets.includes(namedSocket(join(parent, id)) ?? "")).sort();
}

/** The socket in the file by which daemons reattach (docs/shim-protocol.md). */
function namedSocket(bundle: string): string | undefined {
  const address =
    readText(join(bundle, "address")) ?? bootstrapAddress(readText(join(bundle, "bootstrap.json")));
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

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
