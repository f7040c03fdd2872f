// Content and snapshots in the daemon: the stores of src/images with the records that name what is in them, and the collection of what nothing names any
// more. Made by daemon.ts; the services in api/ use it. Nothing on disk is touched before it is first used.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { CLIENT_LABEL } from "../../api/labels.ts";
import { Blobs } from "../../images/blobs.ts";
import { Ingests } from "../../images/ingests.ts";
import { layerProgramPath } from "../../images/layer-process.ts";
import { LayerProgram } from "../../images/layer-program.ts";
import type { SnapshotMount } from "../../images/mount.ts";
import { Native } from "../../images/native.ts";
import { Overlay } from "../../images/overlay.ts";
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
import { SharedLock } from "../../images/shared-lock.ts";
import type { Snapshotter } from "../../images/snapshotter.ts";
import { hasEnded } from "../../platform/node-process.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import type { SnapshotRecord, Store } from "../records/store.ts";
import type { Exchange } from "../server/exchange.ts";
import { type ImageEvents, imageEvents } from "./image-events.ts";

/** How long after a deletion what it kept is collected, in ms: several deletions are one collection. */
const COLLECT_AFTER_MS = 500;
/** How long an ingest that no lease keeps may rest, in ms: containerd's default expiry. */
const INGEST_REST_MS = 24 * 3600 * 1000;

/** The id of a snapshot's record. */
export const snapshotId = (snapshotter: string, key: string): string => `${snapshotter}/${key}`;

/** What a collection has removed. */
export interface Collected {
  readonly contents: number;
  readonly snapshots: number;
  readonly blobs: number;
  readonly ingests: number;
}

/** One of the snapshotters, and why it cannot be used here; undefined if it can. */
export interface SnapshotterState {
  readonly name: string;
  readonly directory: string;
  readonly fault: string | undefined;
}

export class Images {
  readonly blobs: Blobs;
  readonly ingests: Ingests;
  readonly layers: LayerProgram;
  readonly #snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly publish: ImageEvents;
  readonly #store: Store;
  readonly #lock = new SharedLock();
  readonly #failed: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #lastDirectory = 0;

  /** `root` is the daemon's directory; `failed` gets the errors of collections that nobody waits for. */
  constructor(root: string, store: Store, exchange: Exchange, failed: (error: unknown) => void) {
    this.blobs = new Blobs(join(root, "content"));
    this.ingests = new Ingests(this.blobs);
    const scratch = join(root, "scratch");
    // Mount points of an earlier daemon, whose unpackers have ended with it.
    rmSync(scratch, { recursive: true, force: true });
    this.layers = new LayerProgram(layerProgramPath(), scratch);
    this.#snapshotters = new Map<string, Snapshotter>([
      ["overlayfs", new Overlay(join(root, "snapshots", "overlayfs"))],
      ["native", new Native(join(root, "snapshots", "native"), this.layers)],
    ]);
    this.publish = imageEvents(exchange);
    this.#store = store;
    this.#failed = failed;
  }

  /** Holds collections off until the returned function is called: for who makes something that nothing names yet. */
  share(): Promise<() => void> {
    return this.#lock.share();
  }

  /** Puts a resource on a lease, if there is one. Rejects with NOT_FOUND for a lease that is not there. */
  async keep(
    namespace: string,
    lease: string | undefined,
    resource: { id: string; type: string },
  ): Promise<void> {
    if (lease === undefined) return;
    await this.#store.leases.update(namespace, lease, (record) => ({
      ...record,
      resources: [
        ...record.resources.filter(({ id, type }) => id !== resource.id || type !== resource.type),
        resource,
      ],
    }));
  }

  // --- snapshots

  /** Throws INVALID_ARGUMENT for a name that is not known. */
  snapshotter(name: string): Snapshotter {
    const snapshotter = this.#snapshotters.get(name);
    if (snapshotter !== undefined) return snapshotter;
    const known = [...this.#snapshotters.keys()].join(", ");
    const text = `snapshotter not loaded: ${name}; there are ${known}: invalid argument`;
    throw new TtrpcError(Code.INVALID_ARGUMENT, text);
  }

  /** For making snapshots. Rejects with INVALID_ARGUMENT for a name that is not known, and for what this host cannot have. */
  async usableSnapshotter(name: string): Promise<Snapshotter> {
    const snapshotter = this.snapshotter(name);
    const fault = await snapshotter.fault(this.layers);
    if (fault === undefined) return snapshotter;
    throw new TtrpcError(
      Code.INVALID_ARGUMENT,
      `snapshotter not loaded: ${name}: ${fault}: invalid argument`,
    );
  }

  snapshotterStates(): Promise<SnapshotterState[]> {
    const all = [...this.#snapshotters];
    return Promise.all(
      all.map(async ([name, snapshotter]) => {
        return { name, directory: snapshotter.directory, fault: await snapshotter.fault(this.layers) };
      }),
    );
  }

  /** The first that this host can have. */
  async usualSnapshotter(): Promise<string> {
    const states = await this.snapshotterStates();
    return (states.find(({ fault }) => fault === undefined) ?? states[0])?.name ?? "overlayfs";
  }

  /** Throws NOT_FOUND. */
  snapshot(namespace: string, snapshotter: string, key: string): SnapshotRecord {
    this.snapshotter(snapshotter);
    const record = this.#store.snapshots.find(namespace, snapshotId(snapshotter, key));
    if (record === undefined)
      throw new TtrpcError(Code.NOT_FOUND, `snapshot ${key} does not exist: not found`);
    return record;
  }

  snapshotKeys(namespace: string, snapshotter: string): string[] {
    const prefix = snapshotId(snapshotter, "");
    return this.#store.snapshots
      .ids(namespace)
      .filter((id) => id.startsWith(prefix))
      .map((id) => id.slice(prefix.length));
  }

  /** The directories of a committed snapshot and of all below it, the nearest first. Throws NOT_FOUND, and INVALID_ARGUMENT for one that is not committed. */
  chain(namespace: string, snapshotter: string, key: string): string[] {
    const directories: string[] = [];
    for (let name = key; name !== ""; ) {
      const { kind, directory, parent } = this.snapshot(namespace, snapshotter, name);
      if (kind !== "committed") {
        throw new TtrpcError(
          Code.INVALID_ARGUMENT,
          `parent ${name} is not committed snapshot: invalid argument`,
        );
      }
      directories.push(directory);
      name = parent;
    }
    return directories;
  }

  /** Throws NOT_FOUND, and FAILED_PRECONDITION for a committed one. */
  mountsOf(namespace: string, snapshotter: string, key: string): SnapshotMount[] {
    const { kind, directory, parent } = this.snapshot(namespace, snapshotter, key);
    if (kind === "committed") {
      throw new TtrpcError(Code.FAILED_PRECONDITION, `snapshot ${key} is committed: failed precondition`);
    }
    const parents = parent === "" ? [] : this.chain(namespace, snapshotter, parent);
    return this.snapshotter(snapshotter).mounts(directory, kind, parents);
  }

  /** Rejects with NOT_FOUND, and with FAILED_PRECONDITION while another stands on it. */
  async removeSnapshot(namespace: string, snapshotter: string, key: string): Promise<void> {
    const { directory } = this.snapshot(namespace, snapshotter, key);
    const child = this.snapshotKeys(namespace, snapshotter).find(
      (each) => this.snapshot(namespace, snapshotter, each).parent === key,
    );
    if (child !== undefined) {
      const text = `cannot remove snapshot ${key} with child ${child}: failed precondition`;
      throw new TtrpcError(Code.FAILED_PRECONDITION, text);
    }
    await this.#store.snapshots.remove(namespace, snapshotId(snapshotter, key));
    this.snapshotter(snapshotter).remove(directory);
  }

  /** A name that no snapshot's directory has, on record or on disk. */
  nextDirectory(): string {
    if (this.#lastDirectory === 0) {
      const { snapshots } = this.#store;
      const used = snapshots.namespaces().flatMap((namespace) => snapshots.list(namespace));
      this.#lastDirectory = Math.max(0, ...used.map(({ directory }) => Number(directory)));
    }
    const isTaken = (name: string): boolean =>
      [...this.#snapshotters.values()].some((each) => each.has(name));
    do this.#lastDirectory++;
    while (isTaken(String(this.#lastDirectory)));
    return String(this.#lastDirectory);
  }

  // --- collection

  /** Collects before long. */
  collectSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.collect().catch(this.#failed);
    }, COLLECT_AFTER_MS).unref();
  }

  /** Removes what no image, container, lease or label keeps, in every namespace, then what no namespace has any more. */
  async collect(): Promise<Collected> {
    const release = await this.#lock.exclude();
    try {
      const { contents, snapshots } = this.#store;
      const namespaces = new Set([
        ...contents.namespaces(),
        ...snapshots.namespaces(),
        ...this.#store.leases.namespaces(),
      ]);
      let [content, snapshot] = [0, 0];
      for (const namespace of namespaces) {
        await this.#endLeases(namespace);
        const kept = this.#kept(namespace);
        content += await this.#sweepContent(namespace, kept);
        snapshot += await this.#sweepSnapshots(namespace, kept);
      }
      return { contents: content, snapshots: snapshot, ...this.#sweepDisk() };
    } finally {
      release();
    }
  }

  async #endLeases(namespace: string): Promise<void> {
    const { leases } = this.#store;
    const ended = leases.ids(namespace).filter((id) => isOver(leases.get(namespace, id).labels));
    await Promise.all(ended.map((id) => leases.remove(namespace, id)));
  }

  #kept(namespace: string): Set<Resource> {
    const { images, containers, leases, contents, snapshots } = this.#store;
    const roots: Resource[] = [];
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
    await Promise.all(stale.map((digest) => contents.remove(namespace, digest)));
    return stale.length;
  }

  async #sweepSnapshots(namespace: string, kept: ReadonlySet<Resource>): Promise<number> {
    const { snapshots } = this.#store;
    const stale = snapshots.ids(namespace).filter((id) => !kept.has(`snapshots/${id}`));
    await Promise.all(stale.map((id) => snapshots.remove(namespace, id)));
    return stale.length;
  }

  /** Files without a record, of an earlier crash too. */
  #sweepDisk(): { blobs: number; ingests: number } {
    const { contents, snapshots, leases } = this.#store;
    const digests = new Set(contents.namespaces().flatMap((namespace) => contents.ids(namespace)));
    const stale = this.blobs.list().filter((digest) => !digests.has(digest));
    for (const digest of stale) this.blobs.remove(digest);
    const directories = new Set(
      snapshots
        .namespaces()
        .flatMap((namespace) => snapshots.list(namespace).map(({ directory }) => directory)),
    );
    for (const snapshotter of this.#snapshotters.values()) snapshotter.sweep((name) => directories.has(name));
    const leased = new Map(
      leases
        .namespaces()
        .map((namespace) => [
          namespace,
          new Set(leases.list(namespace).flatMap(({ resources }) => resources.map(({ id }) => id))),
        ]),
    );
    const ingests = this.ingests.sweep(
      ({ namespace, ref, updatedAtMs, isRefused }) =>
        (Date.now() - updatedAtMs < INGEST_REST_MS && isRefused !== true) ||
        leased.get(namespace)?.has(ref) === true,
    );
    return { blobs: stale.length, ingests };
  }

  /** No collection begins any more. */
  close(): void {
    clearTimeout(this.#timer);
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
