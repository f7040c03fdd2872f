// What users have changed of an image: all that is different but what the runtime has made for mounts, as `docker diff` and `podman diff` have it.
import { posix } from "node:path";
import type { Change } from "../../images/root-files.ts";
import type { Spec } from "./spec-flags.ts";

export interface UserChange {
  readonly kind: "A" | "C" | "D";
  readonly path: string;
}

/** Where a container's mounts are. */
export function mountPointsOf({ mounts }: Spec): string[] {
  if (!Array.isArray(mounts)) return [];
  return (mounts as ({ readonly destination?: unknown } | null)[])
    .map((mount) => mount?.destination)
    .filter((destination) => typeof destination === "string")
    .map((destination) => posix.join("/", destination).replace(/(?<=.)\/$/, ""));
}

/** `changes` in the order of RootFiles.changes(). Mount points that were added go, and what is listed for them alone. */
export function madeByUsers(changes: readonly Change[], mountPoints: readonly string[]): UserChange[] {
  const points = new Set(mountPoints);
  const aboveThem = new Set(mountPoints.flatMap(directoriesAbove));
  const needed = new Set<string>();
  const kept: UserChange[] = [];
  // Whether anything in a directory stays is known before the directory comes.
  for (const { kind, path } of changes.toReversed()) {
    const isForMount = kind === "P" || (kind === "A" && (points.has(path) || aboveThem.has(path)));
    if (isForMount && !needed.has(path)) continue;
    for (const directory of directoriesAbove(path)) needed.add(directory);
    kept.push({ kind: kind === "P" ? "C" : kind, path });
  }
  return kept.reverse();
}

function directoriesAbove(path: string): string[] {
  const parts = path.split("/").slice(1, -1);
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join("/")}`);
}
