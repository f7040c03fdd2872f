// Finds every shim on this host through /proc: ours, Go's, whoever's daemon started them. Used by `shims`, `shim`, `doctor`.
import { basename, dirname } from "node:path";
import { Bundles, isBundle, isBundlePath, namedSocket } from "./bundle.ts";
import { KEEPER_COMMAND, shimKind } from "./keeper.ts";
import {
  allPids,
  argumentsOf,
  directoryOf,
  executableOf,
  isOfOurs,
  listeningSockets,
  type ProcessStat,
  type SocketPaths,
  socketsOf,
  statOf,
} from "./proc.ts";

/** Words on a shim's command line that make it something other than a server; the keeper's is a word of its own (native/keeper.c). */
const SHORT_LIVED: readonly string[] = ["delete", KEEPER_COMMAND, "keep"];

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
  /** Empty if it works elsewhere. */
  readonly bundle: string;
  readonly bundleRemoved: boolean;
  /** Where it takes calls; empty while it starts. */
  readonly sockets: readonly string[];
  /** Ids of the containers whose bundles name its socket. */
  readonly containers: readonly string[];
}

/** What is read once for all of them. */
interface Host {
  readonly sockets: SocketPaths;
  readonly bundles: Bundles;
}

function host(): Host {
  return { sockets: listeningSockets(), bundles: new Bundles() };
}

/** A process of our user whose program is a shim's: a shim, its keeper, or one of the short-lived. */
interface ShimProgram {
  readonly pid: number;
  readonly kind: string;
  readonly executable: string;
  readonly argv: readonly string[];
  readonly stat: ProcessStat;
}

/** Every shim of our user that is running, or that its keeper has given up, by namespace and id. */
export function findShims(): ShimProcess[] {
  const seen = host();
  const programs = allPids()
    .map(shimProgram)
    .filter((program) => program !== undefined);
  const running = programs.filter(serves).map((program) => serving(program, seen));
  const parents = new Set(running.map(({ stat }) => stat.parent));
  const found = [...running, ...programs.filter(({ pid }) => !parents.has(pid)).flatMap(givenUp)];
  return found.sort((a, b) => order(a.namespace, b.namespace) || order(a.id, b.id) || a.pid - b.pid);
}

/** The shim of that pid, undefined if it is none. */
export function shimProcess(pid: number): ShimProcess | undefined {
  const program = shimProgram(pid);
  return program !== undefined && serves(program) ? serving(program, host()) : undefined;
}

/** A name is not enough: containers and other users may choose theirs. */
function shimProgram(pid: number): ShimProgram | undefined {
  const executable = executableOf(pid);
  const kind = shimKind(executable ?? "");
  if (executable === undefined || kind === undefined || !isOfOurs(pid)) return undefined;
  const stat = statOf(pid);
  return stat === undefined ? undefined : { pid, kind, executable, argv: argumentsOf(pid), stat };
}

function serves({ argv }: ShimProgram): boolean {
  return !argv.some((word) => SHORT_LIVED.includes(word));
}

function serving({ argv, ...program }: ShimProgram, { sockets, bundles }: Host): ShimProcess {
  const held = socketsOf(program.pid, sockets);
  const { bundle, bundleRemoved } = bundleOf(program.pid);
  return {
    ...program,
    id: flag(argv, "id"),
    namespace: flag(argv, "namespace"),
    daemon: flag(argv, "address"),
    bundle,
    bundleRemoved,
    sockets: held,
    containers: bundle === "" ? [] : bundles.servedBy(held, bundle),
  };
}

/** The keeper of a shim that has died too often: it holds what the shim held, and takes no calls. Nothing for others. */
function givenUp({ argv, ...program }: ShimProgram): ShimProcess[] {
  if (argv[0] !== KEEPER_COMMAND) return [];
  const { bundle, bundleRemoved } = bundleOf(program.pid);
  if (bundle === "") return [];
  return [
    {
      ...program,
      id: basename(bundle),
      namespace: basename(dirname(bundle)),
      daemon: "",
      bundle,
      bundleRemoved,
      sockets: [],
      containers: [basename(bundle)],
    },
  ];
}

/** A shim works in its bundle. What looks otherwise is not taken for one. */
function bundleOf(pid: number): Pick<ShimProcess, "bundle" | "bundleRemoved"> {
  const directory = directoryOf(pid);
  if (directory === undefined) return { bundle: "", bundleRemoved: true };
  const { path, removed } = directory;
  const known = removed ? isBundlePath(path) : isBundle(path);
  return { bundle: known ? path : "", bundleRemoved: removed };
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

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
