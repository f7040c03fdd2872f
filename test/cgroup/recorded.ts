// Cgroup files for tests: a recorded tree on disk, or a handful of texts in memory.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { CgroupFiles } from "../../src/cgroup/files.ts";
import { type CgroupPaths, parseCgroupPaths, parseHierarchy } from "../../src/cgroup/hierarchy.ts";

export interface Recorded {
  readonly paths: CgroupPaths;
  readonly files: CgroupFiles;
}

/** A tree below test/cgroup/recorded, seen as a host's root directory whose process 4242 is in the container. */
export function recorded(name: string): Recorded {
  const root = join(import.meta.dirname, "recorded", name);
  const files: CgroupFiles = {
    read: (path) => (existsSync(root + path) ? readFileSync(root + path, "utf8") : undefined),
    list: (path) => (existsSync(root + path) ? readdirSync(root + path) : []),
  };
  const hierarchy = parseHierarchy(files.read("/proc/self/mountinfo") ?? "");
  if (hierarchy === undefined) throw new Error(`${name}: no cgroup mounts`);
  return { files, paths: parseCgroupPaths(hierarchy, files.read("/proc/4242/cgroup") ?? "") };
}

/** One directory for all controllers, with these files in it; absolute names stand for themselves. */
export function inMemory(version: 1 | 2, texts: Readonly<Record<string, string>>): Recorded {
  const directory = "/cg";
  return {
    paths: { version, directory: () => directory },
    files: {
      read: (path) => texts[path] ?? texts[path.slice(directory.length + 1)],
      list: (path) => (path === directory ? Object.keys(texts) : []),
    },
  };
}
