// The table of mounts as /proc/self/mountinfo writes it (proc(5)). Read by src/cgroup, the daemon and the command line.

export interface MountEntry {
  /** The directory of the mounted file system that is shown at `point`. */
  readonly root: string;
  readonly point: string;
  readonly type: string;
  /** The file system's own options, such as a cgroup v1 hierarchy's controllers. */
  readonly options: readonly string[];
}

/** All entries, the first mounted first. Lines that are not of the form are passed over. */
export function parseMountinfo(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const [, , , root, point] = before.split(" ");
    const [type, , options = ""] = after.split(" ");
    if (root === undefined || point === undefined || type === undefined) continue;
    entries.push({
      root: decodeEscapes(root),
      point: decodeEscapes(point),
      type,
      options: options.split(","),
    });
  }
  return entries;
}

/** Blank, tab, newline and backslash are written as a backslash and three octal digits. */
function decodeEscapes(text: string): string {
  const [head = "", ...parts] = text.split("\\");
  return (
    head +
    parts.map((part) => String.fromCharCode(Number.parseInt(part.slice(0, 3), 8)) + part.slice(3)).join("")
  );
}
