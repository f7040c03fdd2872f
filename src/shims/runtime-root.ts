// Where OCI runtimes keep their state of containers, by root, namespace and id, and who holds an id there. holdfastd gives its containers a root of their
// own: two daemons in one root can take each other's ids.
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** Of every daemon whose client names no other (containerd's default). */
export const DEFAULT_RUNTIME_ROOT = "/run/containerd/runc";
const MAX_STATE_BYTES = 16 * 1024 * 1024;

/** Of a holdfastd with that state directory. */
export function runtimeRootOf(stateDirectory: string): string {
  return join(stateDirectory, "runc");
}

/** Where to look for what is left on a host, of containerd and of a holdfastd; HOLDFAST_STATE names the state directory of one that has another. */
export const RUNTIME_ROOTS: readonly string[] = [
  DEFAULT_RUNTIME_ROOT,
  runtimeRootOf(process.env.HOLDFAST_STATE || "/run/holdfast"),
];

/** The container that has an id in a runtime's root. */
export interface RuntimeHolder {
  /** Its directory there. */
  readonly path: string;
  /** 0 if that is not known. */
  readonly pid: number;
  /** "" if that is not known. */
  readonly bundle: string;
}

/** undefined if nobody has it. */
export function findRuntimeHolder(root: string, namespace: string, id: string): RuntimeHolder | undefined {
  const path = join(root, namespace, id);
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return undefined;
  return { path, ...(readRuncState(join(path, "state.json")) ?? readCrunState(join(path, "status"))) };
}

type Known = Pick<RuntimeHolder, "pid" | "bundle">;
const NOTHING: Known = { pid: 0, bundle: "" };

/** runc has the bundle among the labels of its configuration. */
function readRuncState(path: string): Known | undefined {
  const state = readObject(path);
  if (state === undefined) return undefined;
  const { config } = state as { config?: { labels?: unknown } | null };
  const labels = Array.isArray(config?.labels) ? config.labels : [];
  const label = labels.find((each): each is string => typeof each === "string" && each.startsWith("bundle="));
  return { pid: pidOf(state.init_process_pid), bundle: label?.slice("bundle=".length) ?? "" };
}

function readCrunState(path: string): Known {
  const state = readObject(path);
  if (state === undefined) return NOTHING;
  return { pid: pidOf(state.pid), bundle: typeof state.bundle === "string" ? state.bundle : "" };
}

function pidOf(value: unknown): number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0 ? value : 0;
}

function readObject(path: string): Record<string, unknown> | undefined {
  try {
    const stat = statSync(path);
    if (!stat.isFile() || stat.size > MAX_STATE_BYTES) return undefined;
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
