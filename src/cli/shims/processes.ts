// Finds every shim on this host through /proc: ours, Go's, whoever's daemon started them.
import { basename, dirname } from "node:path";
import { Bundles, isBundle, isBundlePath } from "./bundle.ts";
import { KEEPER_COMMAND, shimKind } from "./keeper.ts";
import {
  allPids,
  argumentsOf,
  directoryOf,
  executableOf,
  holdsSocket,
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
  /** The one to call, that its bundle names. */
  readonly socket: string | undefined;
  /** Ids of the containers whose bundles name its socket. */
  readonly containers: readonly string[];
}

/** How much of a shim is looked at: all its sockets, or the one that its bundle names, if it holds that. */
type Look = "whole" | "quick";

/** What is read once for all of them. */
interface Host {
  readonly sockets: SocketPaths;
  readonly bundles: Bundles;
  readonly look: Look;
}

function host(look: Look): Host {
  return { sockets: listeningSockets(), bundles: new Bundles(), look };
}

/** A process whose program is a shim's: a shim, its keeper, or one of the short-lived. */
interface ShimProgram {
  readonly pid: number;
  readonly kind: string;
  readonly executable: string;
  readonly argv: readonly string[];
}

/** Every shim of our user that is running, or that its keeper has given up, by namespace and id. */
export function findShims(look: Look = "whole"): ShimProcess[] {
  const seen = host(look);
  const programs = allPids()
    .map(shimProgram)
    .filter((program) => program !== undefined);
  const running = programs
    .filter(serves)
    .map((program) => serving(program, seen))
    .filter((shim) => shim !== undefined);
  const parents = new Set(running.map(({ stat }) => stat.parent));
  const found = [...running, ...programs.filter(({ pid }) => !parents.has(pid)).flatMap(givenUp)];
  return found.sort((a, b) => order(a.namespace, b.namespace) || order(a.id, b.id) || a.pid - b.pid);
}

/** The shim of that pid, undefined if it is none. */
export function shimProcess(pid: number): ShimProcess | undefined {
  const program = shimProgram(pid);
  return program !== undefined && serves(program) ? serving(program, host("whole")) : undefined;
}

function shimProgram(pid: number): ShimProgram | undefined {
  const executable = executableOf(pid);
  const kind = shimKind(executable ?? "");
  if (executable === undefined || kind === undefined) return undefined;
  return { pid, kind, executable, argv: argumentsOf(pid) };
}

/** undefined for a process that is none of our user's, and for one that has ended. */
function ownStat(pid: number): ProcessStat | undefined {
  // A name is not enough: containers and other users may choose theirs.
  return isOfOurs(pid) ? statOf(pid) : undefined;
}

function serves({ argv }: ShimProgram): boolean {
  return !argv.some((word) => SHORT_LIVED.includes(word));
}

function serving(
  { argv, ...program }: ShimProgram,
  { sockets, bundles, look }: Host,
): ShimProcess | undefined {
  const stat = ownStat(program.pid);
  if (stat === undefined) return undefined;
  const { bundle, bundleRemoved } = bundleOf(program.pid);
  const named = bundle === "" ? undefined : bundles.socketOf(bundle);
  const isEnough = look === "quick" && named !== undefined && holdsSocket(program.pid, named, sockets);
  const held = isEnough ? [named] : socketsOf(program.pid, sockets);
  return {
    ...program,
    id: flag(argv, "id"),
    namespace: flag(argv, "namespace"),
    daemon: flag(argv, "address"),
    stat,
    bundle,
    bundleRemoved,
    sockets: held,
    socket: named !== undefined && held.includes(named) ? named : held[0],
    containers: bundle === "" ? [] : bundles.servedBy(held, bundle),
  };
}

/** The keeper of a shim that has died too often: it holds what the shim held, and takes no calls. Nothing for others. */
function givenUp({ argv, ...program }: ShimProgram): ShimProcess[] {
  const stat = argv[0] === KEEPER_COMMAND ? ownStat(program.pid) : undefined;
  if (stat === undefined) return [];
  const { bundle, bundleRemoved } = bundleOf(program.pid);
  if (bundle === "") return [];
  return [
    {
      ...program,
      id: basename(bundle),
      namespace: basename(dirname(bundle)),
      daemon: "",
      stat,
      bundle,
      bundleRemoved,
      sockets: [],
      socket: undefined,
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
