// The collection of what nothing names any more: marks what images, containers, leases and labels keep, and removes the rest. images.ts says when.
import { CLIENT_LABEL } from "../../api/labels.ts";
import type { Blobs } from "../../images/blobs.ts";
import type { Ingests } from "../../images/ingests.ts";
import {
  contentResource,
  hasExpired,
  isFlat,
  isRoot,
  type Labels,
  type Resource,
  reachable,
  referencesOf,
  snapshotResource,
} from "../../images/references.ts";
import type { Snapshotter } from "../../images/snapshotter.ts";
import { nodeClock } from "../../platform/node.ts";
import { hasEnded } from "../../platform/node-process.ts";
import type { Store } from "../records/store.ts";

/** How long an ingest that no lease keeps may rest, in ms: containerd's default expiry. */
const INGEST_REST_MS = 24 * 3600 * 1000;

/** How leases call ingests. */
export const INGEST_TYPE = "ingests";

/** What a collection has removed. */
export interface Collected {
  readonly contents: number;
  readonly snapshots: number;
  readonly blobs: number;
  readonly ingests: number;
  /** What was made a moment ago, under no lease. */
  readonly spared: number;
}

interface Places {
  readonly store: Store;
  readonly blobs: Blobs;
  readonly ingests: Ingests;
  readonly snapshotters: readonly Snapshotter[];
}

export class Collection {
  readonly #store: Store;
  readonly #places: Places;

  constructor(places: Places) {
    this.#store = places.store;
    this.#places = places;
  }

  /**
   * Removes what no image, container, lease or label keeps, in every namespace, then what no namespace has any more. Nothing may be made meanwhile; what
   * changes records waits until they have been gone through, as what is made to point at something must find that there afterwards, or be too late.
   * What was made under no lease is spared for `graceMs`.
   */
  async run(graceMs: number): Promise<Collected> {
    const { contents, snapshots, leases } = this.#store;
    const open = await this.#store.changes.exclude();
    let [content, snapshot, spared] = [0, 0, 0];
    const youngest = nodeClock.realtimeNs() - BigInt(graceMs) * 1_000_000n;
    try {
      const namespaces = new Set([
        ...contents.namespaces(),
        ...snapshots.namespaces(),
        ...leases.namespaces(),
      ]);
      for (const namespace of namespaces) {
        await this.#endLeases(namespace);
        const young = this.#unleasedSince(namespace, youngest);
        spared += young.length;
        const kept = this.#kept(namespace, young);
        content += await this.#sweepContent(namespace, kept);
        snapshot += await this.#sweepSnapshots(namespace, kept);
      }
    } finally {
      open();
    }
    return { contents: content, snapshots: snapshot, spared, ...this.#sweepDisk() };
  }

  async #endLeases(namespace: string): Promise<void> {
    const { leases } = this.#store;
    const ended = leases.ids(namespace).filter((id) => isOver(leases.get(namespace, id).labels));
    await leases.removeAll(namespace, ended);
  }

  #unleasedSince(namespace: string, since: bigint): Resource[] {
    const { contents, snapshots } = this.#store;
    const isYoung = ({ isUnleased, createdAt }: { isUnleased?: boolean; createdAt: string }): boolean =>
      isUnleased === true && BigInt(createdAt) > since;
    return [
      ...contents
        .ids(namespace)
        .filter((digest) => isYoung(contents.get(namespace, digest)))
        .map(contentResource),
      ...snapshots
        .ids(namespace)
        .filter((id) => isYoung(snapshots.get(namespace, id)))
        .map((id) => `snapshots/${id}`),
    ];
  }

  #kept(namespace: string, spared: readonly Resource[]): Set<Resource> {
    const { images, containers, leases, contents, snapshots } = this.#store;
    const roots: Resource[] = [...spared];
    const flat: Resource[] = [];
    for (const { labels, target } of images.list(namespace)) {
      roots.push(...referencesOf(labels));
      if (target !== undefined) roots.push(contentResource(target.digest));
    }
    for (const { labels, snapshotter, snapshotKey } of containers.list(namespace)) {
      roots.push(...referencesOf(labels));
      if (snapshotKey !== "") roots.push(snapshotResource(snapshotter, snapshotKey));
    }
    for (const { labels, resources } of leases.list(namespace)) {
      const named = resources.map(({ id, type }) =>
        type === "content" ? contentResource(id) : `${type}/${id}`,
      );
      (isFlat(labels) ? flat : roots).push(...named);
    }
    for (const id of contents.ids(namespace)) {
      if (isRoot(contents.get(namespace, id).labels)) roots.push(contentResource(id));
    }
    for (const id of snapshots.ids(namespace)) {
      if (isRoot(snapshots.get(namespace, id).labels)) roots.push(`snapshots/${id}`);
    }
    const found = reachable(roots, (resource) => this.#pointsAt(namespace, resource));
    // A flat lease keeps a snapshot's parents, as it is nothing without them, but no more.
    for (const resource of reachable(flat, (each) => this.#parentOf(namespace, each))) found.add(resource);
    return found;
  }

  #pointsAt(namespace: string, resource: Resource): Resource[] {
    return [...referencesOf(this.#labelsOf(namespace, resource)), ...this.#parentOf(namespace, resource)];
  }

  #labelsOf(namespace: string, resource: Resource): Labels {
    const { contents, snapshots } = this.#store;
    const [type, id] = split(resource);
    const record = type === "content" ? contents.find(namespace, id) : snapshots.find(namespace, id);
    return record?.labels ?? {};
  }

  #parentOf(namespace: string, resource: Resource): Resource[] {
    const [type, id] = split(resource);
    if (type !== "snapshots") return [];
    const parent = this.#store.snapshots.find(namespace, id)?.parent ?? "";
    return parent === "" ? [] : [snapshotResource(id.slice(0, id.indexOf("/")), parent)];
  }

  async #sweepContent(namespace: string, kept: ReadonlySet<Resource>): Promise<number> {
    const { contents } = this.#store;
    const stale = contents.ids(namespace).filter((digest) => !kept.has(contentResource(digest)));
    await contents.removeAll(namespace, stale);
    return stale.length;
  }

  async #sweepSnapshots(namespace: string, kept: ReadonlySet<Resource>): Promise<number> {
    const { snapshots } = this.#store;
    const stale = snapshots.ids(namespace).filter((id) => !kept.has(`snapshots/${id}`));
    await snapshots.removeAll(namespace, stale);
    return stale.length;
  }

  /** Takes snapshots' files out of sight that are on no record. No snapshot may be made meanwhile. */
  sweepFiles(snapshotters: readonly Snapshotter[]): void {
    const { snapshots } = this.#store;
    const all = snapshots.namespaces().flatMap((namespace) => snapshots.list(namespace));
    const directories = new Set(all.map(({ directory }) => directory));
    for (const snapshotter of snapshotters) snapshotter.sweep((name) => directories.has(name));
  }

  /** Files without a record, of an earlier crash too. */
  #sweepDisk(): Pick<Collected, "blobs" | "ingests"> {
    const { contents, leases } = this.#store;
    const { blobs, ingests, snapshotters } = this.#places;
    const digests = new Set(contents.namespaces().flatMap((namespace) => contents.ids(namespace)));
    const stale = blobs.list().filter((digest) => !digests.has(digest));
    for (const digest of stale) blobs.remove(digest);
    this.sweepFiles(snapshotters);
    const leased = new Set(
      leases
        .namespaces()
        .flatMap((namespace) =>
          leases
            .list(namespace)
            .flatMap(({ resources }) => resources.map(({ type, id }) => `${namespace}/${type}/${id}`)),
        ),
    );
    const swept = ingests.sweep(
      ({ namespace, ref, updatedAtMs, isRefused, isLeased }) =>
        leased.has(`${namespace}/${INGEST_TYPE}/${ref}`) ||
        (isRefused !== true && isLeased !== true && Date.now() - updatedAtMs < INGEST_REST_MS),
    );
    return { blobs: stale.length, ingests: swept };
  }
}

/** A lease that has run out, or whose client says who it is and has ended. */
function isOver(labels: Labels): boolean {
  const client = labels[CLIENT_LABEL];
  return hasExpired(labels, Date.now()) || (client !== undefined && hasEnded(client));
}

function split(resource: Resource): [type: string, id: string] {
  const slash = resource.indexOf("/");
  return [resource.slice(0, slash), resource.slice(slash + 1)];
}
