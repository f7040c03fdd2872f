// What dead daemons and shims have left on this host, and shims that hang. Nothing is changed, and nothing that a daemon may have on record is ever
// advised to be removed.
import { lstatSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { BUNDLES } from "../../api/runtime-names.ts";
import { parseMountinfo } from "../../platform/mountinfo.ts";
import { nodeNet } from "../../platform/node.ts";
import { isSystemError } from "../../platform/platform.ts";
import { RUNTIME_ROOTS } from "../../shims/runtime-root.ts";
import { list } from "../shims/bundle.ts";
import { probe } from "../shims/probe.ts";
import { listeningSockets, statOf } from "../shims/proc.ts";
import type { ShimProcess } from "../shims/processes.ts";
import { readSmallFile } from "../shims/small-file.ts";
import { shellWord } from "../text/printable.ts";
import { duration } from "../text/units.ts";
import { type Finding, harmless, listed, removal } from "./finding.ts";
import { readText } from "./host-checks.ts";
import { askRecords, type Records } from "./records.ts";

const STATE_DIRECTORIES = ["/run/containerd", "/run/holdfast"] as const;
const SOCKETS = "/run/containerd/s";
const RUNTIME_STATE_LIMIT = 4 * 1024 * 1024;
/** Younger ones may be on their way to their first container, or out. */
const SETTLED_MS = 60_000;
const NEW_BUNDLE_MS = 5_000;

/** What is known of containers: by their shims, and by daemons. */
interface Known {
  readonly shims: readonly ShimProcess[];
  readonly records: Records;
}

/** `daemon` is the socket of the daemon that is asked about; those of the shims are asked too. */
export async function leftoverFindings(
  shims: readonly ShimProcess[],
  daemon: string,
  timeoutMs: number,
): Promise<Finding[]> {
  const daemons = new Set([daemon, ...shims.map((shim) => shim.daemon)]);
  const [hung, orphans, sockets, records] = await Promise.all([
    hungShims(shims, timeoutMs),
    orphanShims(shims),
    deadSockets(),
    askRecords(daemons, timeoutMs),
  ]);
  const known = { shims, records };
  return [hung, idleShims(known), orphans, sockets, ...bundles(known), runtimeState(known)];
}

async function hungShims(shims: readonly ShimProcess[], timeoutMs: number): Promise<Finding> {
  const probes = await Promise.all(shims.map(async (shim) => ({ shim, ...(await probe(shim, timeoutMs)) })));
  const hung = probes.filter(({ answers, shim }) => !answers && statOf(shim.pid) !== undefined);
  return listed(
    "shims that do not answer",
    hung.map(({ shim, error }) => `${shim.pid} (${shim.id}: ${error})`),
    `look: holdfast shim ${hung[0]?.shim.pid} dump; end its container: holdfast shim ${hung[0]?.shim.pid} kill --direct`,
    `none of ${shims.length}`,
  );
}

function idleShims({ shims, records }: Known): Finding {
  const idle = shims.filter(
    ({ bundle, containers, namespace, id, stat }) =>
      bundle !== "" && containers.length === 0 && stat.ageMs > SETTLED_MS && !records.has(namespace, id),
  );
  return listed(
    "shims without a container",
    idle.map((shim) => `${shim.pid} (${shim.id}, ${duration(shim.stat.ageMs)} old)`),
    `holdfast shim ${idle[0]?.pid} shutdown`,
  );
}

/** Their containers run, but nobody looks after them: normal for a daemon that is being restarted. */
async function orphanShims(shims: readonly ShimProcess[]): Promise<Finding> {
  const daemons = [...new Set(shims.map(({ daemon }) => daemon))].filter((daemon) => daemon !== "");
  const asked = await Promise.all(
    daemons.map(async (daemon) => ({ daemon, error: await connectError(daemon) })),
  );
  const away = asked.filter(({ error }) => error !== undefined).map(({ daemon }) => daemon);
  const orphans = shims.filter(({ daemon }) => away.includes(daemon));
  return harmless(
    listed(
      "shims whose daemon is away",
      orphans.map(({ pid, id, daemon }) => `${pid} (${id}, of ${daemon})`),
      "start that daemon again: it takes them back",
    ),
  );
}

/** Why a socket takes no connection; undefined if it does. A daemon may have bound its socket under another name: /proc does not tell. */
async function connectError(socket: string): Promise<unknown> {
  try {
    (await nodeNet.connect(socket)).close();
    return undefined;
  } catch (error) {
    return error;
  }
}

/** Those of another network namespace are not in our /proc: only who is refused is dead. */
async function deadSockets(): Promise<Finding> {
  const paths = list(SOCKETS).map((name) => join(SOCKETS, name));
  // Asked after the list was made: a socket that appears meanwhile is not on it.
  const listening = new Set([...listeningSockets().values()].flat());
  const silent = paths.filter((path) => !listening.has(path));
  const asked = await Promise.all(silent.map(async (path) => ({ path, error: await connectError(path) })));
  const dead = asked.filter(({ error }) => isSystemError(error, "ECONNREFUSED")).map(({ path }) => path);
  return harmless(listed("sockets of dead shims", dead, removal("sockets of dead shims", dead, "rm")));
}

/** A bundle without a shim, and what is still mounted in it. */
function bundles({ shims, records }: Known): Finding[] {
  const roots = new Set<string>(STATE_DIRECTORIES.map((directory) => join(directory, BUNDLES)));
  const served = new Set<string>();
  for (const shim of shims) {
    if (shim.bundle === "") continue;
    const namespace = dirname(shim.bundle);
    roots.add(dirname(namespace));
    for (const id of [shim.id, basename(shim.bundle), ...shim.containers]) served.add(join(namespace, id));
  }
  const abandoned = [...roots]
    .flatMap((root) => list(root).map((namespace) => join(root, namespace)))
    .flatMap((namespace) => list(namespace).map((id) => join(namespace, id)))
    .filter((bundle) => !served.has(bundle) && isOld(bundle))
    .filter((bundle) => !records.has(basename(dirname(bundle)), basename(bundle)));
  const mounts = mountPoints().filter((point) => abandoned.some((bundle) => point.startsWith(`${bundle}/`)));
  const name = "mounts of dead containers";
  return [
    listed("bundles without a shim", abandoned, "the daemon that they are of cleans them up when it starts"),
    listed(name, mounts, askFirst(records) ?? removal(name, mounts, "umount -l")),
  ];
}

/** A younger one may be waiting for its shim. */
function isOld(path: string): boolean {
  const made = lstatSync(path, { throwIfNoEntry: false })?.ctimeMs;
  return made !== undefined && Date.now() - made > NEW_BUNDLE_MS;
}

/** What runc keeps of containers whose processes are gone. One that has ended keeps it until it is deleted. */
function runtimeState({ shims, records }: Known): Finding {
  const served = new Set(
    shims.flatMap(({ namespace, id, containers }) =>
      [id, ...containers].map((each) => `${namespace}/${each}`),
    ),
  );
  const dead = RUNTIME_ROOTS.flatMap((root) => list(root).map((namespace) => join(root, namespace)))
    .flatMap((namespace) => list(namespace).map((id) => join(namespace, id)))
    .filter((path) => {
      const [namespace, id] = [basename(dirname(path)), basename(path)];
      if (served.has(`${namespace}/${id}`) || records.has(namespace, id)) return false;
      const pid = initPid(path);
      return pid !== undefined && statOf(pid) === undefined;
    });
  const [first = ""] = dead;
  const command = `runc --root ${shellWord(dirname(first))} delete --force ${shellWord(basename(first))}`;
  return harmless(listed("runc's state of dead containers", dead, askFirst(records) ?? command));
}

/** What to do first while there may be records that nobody has shown us. */
function askFirst({ silent: [first, ...rest] }: Records): string | undefined {
  if (first === undefined) return undefined;
  const more = rest.length === 0 ? "" : ` and ${rest.length} more`;
  return `they may be on record of a daemon that does not answer: start that of ${first}${more}, it cleans up what is its own`;
}

function initPid(path: string): number | undefined {
  try {
    const state: unknown = JSON.parse(readSmallFile(join(path, "state.json"), RUNTIME_STATE_LIMIT) ?? "");
    const { init_process_pid: pid } = state as { init_process_pid?: unknown };
    return typeof pid === "number" ? pid : undefined;
  } catch {
    return undefined;
  }
}

function mountPoints(): string[] {
  return parseMountinfo(readText("/proc/self/mountinfo") ?? "").map(({ point }) => point);
}
