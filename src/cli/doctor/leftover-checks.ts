// What dead daemons and shims have left on this host, and shims that hang. Used by `doctor`; nothing is changed.
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { BUNDLES } from "../../api/runtime-names.ts";
import { parseMountinfo } from "../../platform/mountinfo.ts";
import { nodeNet } from "../../platform/node.ts";
import { listeningSockets, statOf } from "../shims/proc.ts";
import type { ShimProcess } from "../shims/processes.ts";
import { duration } from "../text/units.ts";
import { probe } from "../verbs/shims.ts";
import type { Finding } from "./host-checks.ts";

const STATE_DIRECTORIES = ["/run/containerd", "/run/holdfast"] as const;
const SOCKETS = "/run/containerd/s";
const RUNTIME_STATE = "/run/containerd/runc";
/** Younger ones may be on their way to their first container, or out. */
const SETTLED_MS = 60_000;
const NEW_BUNDLE_MS = 5_000;
const SHOWN = 5;

export async function leftoverFindings(shims: readonly ShimProcess[], timeoutMs: number): Promise<Finding[]> {
  return [
    await hungShims(shims, timeoutMs),
    idleShims(shims),
    await orphanShims(shims),
    deadSockets(),
    ...bundles(shims),
    runtimeState(),
  ];
}

async function hungShims(shims: readonly ShimProcess[], timeoutMs: number): Promise<Finding> {
  const probes = await Promise.all(shims.map(async (shim) => ({ shim, ...(await probe(shim, timeoutMs)) })));
  const hung = probes.filter(({ answers, shim }) => !answers && statOf(shim.pid) !== undefined);
  return finding(
    "shims that do not answer",
    hung.map(({ shim, error }) => `${shim.pid} (${shim.id}: ${error})`),
    `look: holdfast shim ${hung[0]?.shim.pid} dump`,
    `none of ${shims.length}`,
  );
}

function idleShims(shims: readonly ShimProcess[]): Finding {
  const idle = shims.filter((shim) => shim.containers.length === 0 && shim.stat.ageMs > SETTLED_MS);
  return finding(
    "shims without a container",
    idle.map((shim) => `${shim.pid} (${shim.id}, ${duration(shim.stat.ageMs)} old)`),
    `holdfast shim ${idle[0]?.pid} shutdown`,
  );
}

/** Their containers run, but nobody looks after them: normal for a daemon that is being restarted. */
async function orphanShims(shims: readonly ShimProcess[]): Promise<Finding> {
  const daemons = [...new Set(shims.map(({ daemon }) => daemon))].filter((daemon) => daemon !== "");
  const away: string[] = [];
  for (const daemon of daemons) if (!(await takesConnections(daemon))) away.push(daemon);
  const orphans = shims.filter(({ daemon }) => away.includes(daemon));
  const found = finding(
    "shims whose daemon is away",
    orphans.map(({ pid, id, daemon }) => `${pid} (${id}, of ${daemon})`),
    "start that daemon again; or end them: holdfast shim PID kill -s KILL --all",
  );
  return harmless(found);
}

/** A daemon may have bound its socket under another name: /proc does not tell. */
async function takesConnections(socket: string): Promise<boolean> {
  try {
    (await nodeNet.connect(socket)).close();
    return true;
  } catch {
    return false;
  }
}

function deadSockets(): Finding {
  const paths = list(SOCKETS).map((name) => join(SOCKETS, name));
  // Asked after the list was made: a socket that appears meanwhile is not on it.
  const listening = new Set(listeningSockets().values());
  const dead = paths.filter((path) => !listening.has(path));
  return harmless(finding("sockets of dead shims", dead, removal("sockets of dead shims", dead, "rm")));
}

/** A bundle without a shim, and what is still mounted in it. */
function bundles(shims: readonly ShimProcess[]): Finding[] {
  const roots = new Set<string>(STATE_DIRECTORIES.map((directory) => join(directory, BUNDLES)));
  const served = new Set<string>();
  for (const shim of shims) {
    const parent = dirname(shim.bundle);
    roots.add(dirname(parent));
    for (const id of [shim.id, ...shim.containers]) served.add(join(parent, id));
  }
  const abandoned = [...roots]
    .flatMap((root) => list(root).map((namespace) => join(root, namespace)))
    .flatMap((namespace) => list(namespace).map((id) => join(namespace, id)))
    .filter((bundle) => !served.has(bundle) && isOld(bundle));
  const mounts = mountPoints().filter((point) => abandoned.some((bundle) => point.startsWith(`${bundle}/`)));
  return [
    finding(
      "bundles without a shim",
      abandoned,
      "the daemon cleans them up when it starts; without one: rm -r",
    ),
    finding("mounts of dead containers", mounts, removal("mounts of dead containers", mounts, "umount -l")),
  ];
}

/** A younger one may be waiting for its shim. */
function isOld(path: string): boolean {
  const made = lstatSync(path, { throwIfNoEntry: false })?.ctimeMs;
  return made !== undefined && Date.now() - made > NEW_BUNDLE_MS;
}

/** What runc keeps of containers whose processes are gone. */
function runtimeState(): Finding {
  const dead = list(RUNTIME_STATE).flatMap((namespace) =>
    list(join(RUNTIME_STATE, namespace))
      .map((id) => join(RUNTIME_STATE, namespace, id))
      .filter((path) => {
        const pid = initPid(path);
        return pid !== undefined && statOf(pid) === undefined;
      }),
  );
  const [first = ""] = dead;
  // A container that has ended keeps it until it is deleted.
  return harmless(
    finding(
      "runc's state of dead containers",
      dead,
      `if nobody knows it any more: runc --root ${dirname(first)} delete --force ${basename(first)}`,
    ),
  );
}

function initPid(path: string): number | undefined {
  try {
    const state: unknown = JSON.parse(readFileSync(join(path, "state.json"), "utf8"));
    const { init_process_pid: pid } = state as { init_process_pid?: unknown };
    return typeof pid === "number" ? pid : undefined;
  } catch {
    return undefined;
  }
}

function mountPoints(): string[] {
  return parseMountinfo(readFileSync("/proc/self/mountinfo", "utf8")).map(({ point }) => point);
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function finding(check: string, bad: readonly string[], advice: string, good = "none"): Finding {
  if (bad.length === 0) return { check, level: "good", found: good };
  const more = bad.length > SHOWN ? `, and ${bad.length - SHOWN} more` : "";
  const found = `${bad.length}: ${bad.slice(0, SHOWN).join(", ")}${more}`;
  return { check, level: "bad", found, advice, items: bad };
}

/** Worth knowing, but nothing works worse for it. */
function harmless(found: Finding): Finding {
  return found.level === "bad" ? { ...found, level: "hint" } : found;
}

/** The command that removes all of them. */
function removal(check: string, paths: readonly string[], command: string): string {
  if (paths.length <= 1) return `${command} ${paths[0]}`;
  return `holdfast doctor --json | jq -r '.[] | select(.check == "${check}") | .items[]' | xargs ${command}`;
}
