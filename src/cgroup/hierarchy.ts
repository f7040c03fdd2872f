// Where cgroups are mounted on this host, and which directories a process's cgroups are. The shim reads both files once a container
// is created, since the paths stay valid after its init has gone.

import { parseMountinfo } from "../platform/mountinfo.ts";
import { lines } from "./files.ts";

/** "hybrid" is v1 with an empty v2 hierarchy beside it, and counts as v1 for everything. */
export type CgroupMode = "legacy" | "hybrid" | "unified";

export interface CgroupMount {
  /** Controllers, "name=systemd" and the like included; empty for v2. */
  readonly controllers: readonly string[];
  /** The cgroup that is visible at `path`: "/" but for containers and bind mounts. */
  readonly root: string;
  readonly path: string;
}

export interface CgroupHierarchy {
  readonly mode: CgroupMode;
  readonly v1: readonly CgroupMount[];
  readonly v2: CgroupMount | undefined;
}

/** The directories of one process's cgroups. */
export interface CgroupPaths {
  readonly version: 1 | 2;
  /** The directory whose files tell of `controller`; undefined if it is not mounted here. On v2 it is one for all. */
  directory(controller: string): string | undefined;
}

/** Reads the text of /proc/self/mountinfo (proc(5)). Undefined if no cgroup hierarchy is mounted. */
export function parseHierarchy(mountinfo: string): CgroupHierarchy | undefined {
  const v1: CgroupMount[] = [];
  let v2: CgroupMount | undefined;
  for (const { root, point, type, options } of parseMountinfo(mountinfo)) {
    const mount = { root, path: point };
    if (type === "cgroup2") v2 ??= { ...mount, controllers: [] };
    if (type === "cgroup") v1.push({ ...mount, controllers: options });
  }
  const controlled = v1.some((mount) => !mount.controllers.some((name) => name.startsWith("name=")));
  if (v2 === undefined) return v1.length > 0 ? { mode: "legacy", v1, v2 } : undefined;
  return { mode: controlled ? "hybrid" : "unified", v1, v2 };
}

/** Where the cgroup `path` shows below a mount; undefined if it lies outside of what is mounted, or nobody can say where. */
function below(mount: CgroupMount, path: string): string | undefined {
  if (`${mount.path}/${path}`.split("/").includes("..")) return undefined;
  if (path === mount.root) return mount.path;
  const root = mount.root === "/" ? "/" : `${mount.root}/`;
  return path.startsWith(root) ? `${mount.path}/${path.slice(root.length)}` : undefined;
}

/** Reads the text of /proc/<pid>/cgroup (cgroups(7)): "id:controllers:path", with no controllers for v2. */
export function parseCgroupPaths(hierarchy: CgroupHierarchy, procCgroup: string): CgroupPaths {
  const directories = new Map<string, string>();
  let unified: string | undefined;
  for (const line of lines(procCgroup)) {
    const [, controllers = "", ...rest] = line.split(":");
    const path = rest.join(":");
    if (controllers === "") {
      unified = hierarchy.v2 && below(hierarchy.v2, path);
      continue;
    }
    for (const controller of controllers.split(",")) {
      for (const mount of hierarchy.v1) {
        const directory = mount.controllers.includes(controller) ? below(mount, path) : undefined;
        if (directory !== undefined && !directories.has(controller)) directories.set(controller, directory);
      }
    }
  }
  if (hierarchy.mode === "unified") return { version: 2, directory: () => unified };
  return { version: 1, directory: (controller) => directories.get(controller) };
}
