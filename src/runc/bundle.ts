// A container's bundle: what its config.json says.
import type { Platform } from "../platform/platform.ts";

/** What the shim needs to know of an OCI runtime specification. */
export interface Spec {
  readonly annotations: Readonly<Record<string, string>>;
  /** Whether the container has a pid namespace of its own, so that its processes end with its init. */
  readonly privatePidNamespace: boolean;
  /** Whether the runtime runs programs after it has let the container's begin, for as long as they take. */
  readonly hasPoststartHooks: boolean;
  /** The init's user, as the container knows it. */
  readonly user: Ids;
  /** The user namespace's, none without one. */
  readonly uidMappings: readonly IdMapping[];
  readonly gidMappings: readonly IdMapping[];
  /** The container's cgroup, from the root of each hierarchy; "" where the spec names none so: the runtime's, or systemd's, choice. */
  readonly cgroupsPath: string;
}

export interface Ids {
  readonly uid: number;
  readonly gid: number;
}

export interface IdMapping {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

/** Reads the bundle's config.json. Throws an Error that names the file if it is missing or is not JSON. */
export function readSpec(platform: Platform, bundle: string): Spec {
  const path = `${bundle}/config.json`;
  const text = platform.files.read(path);
  let spec: unknown;
  try {
    spec = JSON.parse(text);
  } catch (error) {
    throw new Error(`${path}: ${error instanceof Error ? error.message : error}`);
  }
  if (typeof spec !== "object" || spec === null) throw new Error(`${path}: not an object`);
  const { annotations, hooks, linux, process } = spec as {
    annotations?: unknown;
    hooks?: { poststart?: unknown } | null;
    linux?: unknown;
    process?: unknown;
  };
  return {
    annotations: stringsOf(annotations),
    privatePidNamespace: hasPrivatePidNamespace(linux),
    hasPoststartHooks: Array.isArray(hooks?.poststart) && hooks.poststart.length > 0,
    user: idsOf(process),
    uidMappings: mappingsOf(linux, "uidMappings"),
    gidMappings: mappingsOf(linux, "gidMappings"),
    cgroupsPath: cgroupsPathOf(linux),
  };
}

function cgroupsPathOf(linux: unknown): string {
  const path = (linux as { cgroupsPath?: unknown } | null | undefined)?.cgroupsPath;
  return typeof path === "string" && path.startsWith("/") && !path.split("/").includes("..") ? path : "";
}

/** The user of an OCI process; root where it names none. */
export function idsOf(process: unknown): Ids {
  const user = (process as { user?: { uid?: unknown; gid?: unknown } } | null | undefined)?.user;
  const id = (value: unknown): number => (typeof value === "number" ? value : 0);
  return { uid: id(user?.uid), gid: id(user?.gid) };
}

/** A container's user as the host knows it. Whom no mapping covers is left as the container's root. */
export function hostIds({ uidMappings, gidMappings }: Spec, { uid, gid }: Ids): Ids {
  return { uid: hostId(uidMappings, uid), gid: hostId(gidMappings, gid) };
}

function hostId(mappings: readonly IdMapping[], id: number): number {
  if (mappings.length === 0) return id;
  for (const { containerID, hostID, size } of mappings) {
    if (id >= containerID && id < containerID + size) return hostID + id - containerID;
  }
  return id === 0 ? 0 : hostId(mappings, 0);
}

function mappingsOf(linux: unknown, name: "uidMappings" | "gidMappings"): IdMapping[] {
  const list = (linux as Record<string, unknown> | null | undefined)?.[name];
  if (!Array.isArray(list)) return [];
  return list.map((each: Partial<Record<keyof IdMapping, unknown>> | null) => ({
    containerID: numberOf(each?.containerID),
    hostID: numberOf(each?.hostID),
    size: numberOf(each?.size),
  }));
}

/** What is no number is the runtime's to refuse, not ours to fall over. */
function numberOf(value: unknown): number {
  return typeof value === "number" ? value : 0;
}

function stringsOf(value: unknown): Record<string, string> {
  if (typeof value !== "object" || value === null) return {};
  return Object.fromEntries(Object.entries(value).filter(([, text]) => typeof text === "string"));
}

function hasPrivatePidNamespace(linux: unknown): boolean {
  const namespaces = (linux as { namespaces?: unknown } | null | undefined)?.namespaces;
  if (!Array.isArray(namespaces)) return false;
  return namespaces.some((namespace) => namespace?.type === "pid" && !namespace.path);
}
