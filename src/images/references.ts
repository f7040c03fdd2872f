// What keeps what, by containerd's labels (its docs/garbage-collection.md): gc.ref.content[.name] and gc.ref.snapshot.<snapshotter>[/name] point on,
// gc.root keeps a thing for itself, gc.expire ends a lease, gc.flat makes a lease keep only what it names. Pure: the records come from outside.

export type Labels = Readonly<Record<string, string>>;

/** One thing that may be collected: "content/<digest>" or "snapshots/<snapshotter>/<key>", within one namespace. */
export type Resource = string;

export const contentResource = (digest: string): Resource => `content/${digest}`;
export const snapshotResource = (snapshotter: string, key: string): Resource =>
  `snapshots/${snapshotter}/${key}`;

const CONTENT_REF = "containerd.io/gc.ref.content";
const SNAPSHOT_REF = "containerd.io/gc.ref.snapshot.";
const ROOT = "containerd.io/gc.root";
const EXPIRE = "containerd.io/gc.expire";
const FLAT = "containerd.io/gc.flat";

/** The things that labels point at. */
export function referencesOf(labels: Labels): Resource[] {
  const found: Resource[] = [];
  for (const [label, value] of Object.entries(labels)) {
    if (label === CONTENT_REF || label.startsWith(`${CONTENT_REF}.`) || label.startsWith(`${CONTENT_REF}/`)) {
      found.push(contentResource(value));
    } else if (label.startsWith(SNAPSHOT_REF)) {
      const [snapshotter = ""] = label.slice(SNAPSHOT_REF.length).split("/");
      found.push(snapshotResource(snapshotter, value));
    }
  }
  return found;
}

export function isRoot(labels: Labels): boolean {
  return labels[ROOT] !== undefined;
}

export function isFlat(labels: Labels): boolean {
  return labels[FLAT] !== undefined;
}

/** Whether a lease with these labels has run out. What is no time (RFC 3339) does not count. */
export function hasExpired(labels: Labels, nowMs: number): boolean {
  const at = Date.parse(labels[EXPIRE] ?? "");
  return !Number.isNaN(at) && at < nowMs;
}

/** Everything that can be reached from `roots`; `next` gives what a thing points at. */
export function reachable(
  roots: Iterable<Resource>,
  next: (resource: Resource) => readonly Resource[],
): Set<Resource> {
  const found = new Set<Resource>();
  const waiting = [...roots];
  for (let resource = waiting.pop(); resource !== undefined; resource = waiting.pop()) {
    if (found.has(resource)) continue;
    found.add(resource);
    waiting.push(...next(resource));
  }
  return found;
}
