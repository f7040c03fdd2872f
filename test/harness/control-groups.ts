// The machine's control groups, version 1, hybrid or 2: what the harness makes there, finds and removes. Used by leftovers.ts and systemd.ts.
import { readdirSync, rmdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

const MOUNT = "/sys/fs/cgroup";

export function directoriesIn(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => join(directory, entry.name));
  } catch {
    return [];
  }
}

/** Where a group of that name may be: in version 2's tree, and in each of version 1's. */
function placesOf(group: string): string[] {
  return [MOUNT, ...directoriesIn(MOUNT)].map((root) => join(root, group));
}

/** Names of the groups in a group, whatever the hierarchy. */
export function groupsIn(group: string): string[] {
  return [...new Set(placesOf(group).flatMap((path) => directoriesIn(path).map((child) => basename(child))))];
}

/** Removes a group and all in it, as far as no process is there. */
export function removeGroup(group: string): void {
  for (const path of placesOf(group)) removeTree(path);
}

function removeTree(path: string): void {
  for (const child of directoriesIn(path)) removeTree(child);
  try {
    rmdirSync(path);
  } catch {
    // Absent, or a controller that keeps it: nothing of a container is in it.
  }
}

/** Lets what is frozen in version 1's groups in a group go on, so that it can end. */
export function thawGroupsIn(group: string): void {
  for (const path of directoriesIn(join(MOUNT, "freezer", group))) {
    writeFileSync(join(path, "freezer.state"), "THAWED");
  }
}

/** Shell words that put the shell into a group of its own in the trees that systemd looks at. */
export function enterGroup(group: string): string {
  const roots = [MOUNT, join(MOUNT, "systemd"), join(MOUNT, "unified")].join(" ");
  return `for root in ${roots}; do [ -e $root/cgroup.procs ] && mkdir $root/${group} && echo $$ >$root/${group}/cgroup.procs; done`;
}
