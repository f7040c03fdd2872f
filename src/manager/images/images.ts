// Content and snapshots in the daemon: the stores of src/images with the records that name what is in them, and the collection of what nothing names any
// more. Made by daemon.ts; the services in api/ use it. Nothing on disk is touched before it is first used.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { Blobs } from "../../images/blobs.ts";
import { Ingests } from "../../images/ingests.ts";
import { layerProgramPath } from "../../images/layer-process.ts";
import { LayerProgram } from "../../images/layer-program.ts";
import type { SnapshotMount } from "../../images/mount.ts";
import { Native } from "../../images/native.ts";
import { Overlay } from "../../images/overlay.ts";
import { SharedLock } from "../../images/shared-lock.ts";
import type { Snapshotter } from "../../images/snapshotter.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import type { LeaseRecord, LeaseResource, SnapshotRecord, Store } from "../records/store.ts";
import type { Exchange } from "../server/exchange.ts";
import { type Collected, Collection } from "./collection.ts";
import { type ImageEvents, imageEvents } from "./image-events.ts";
import { SnapshotClaims } from "./snapshot-claims.ts";

/** How long after a deletion what it kept is collected, in ms: several deletions are one collection. */
const COLLECT_AFTER_MS = 500;
/** How long what was made under no lease is left alone by a collection that nobody has asked for, in ms. */
const GRACE_MS = 5 * 60_000;
/** The id of a snapshot's record. */
export const snapshotId = (snapshotter: string, key: string): string => `${snapshotter}/${key}`;
/** By which claims tell snapshots of all namespaces apart. */
export const claimId = (namespace: string, snapshotter: string, key: string): string =>
  `${namespace}/${snapshotter}/${key}`;

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
  readonly claims: SnapshotClaims = new SnapshotClaims();
  readonly #store: Store;
  readonly #lock = new SharedLock();
  readonly #collection: Collection;
  readonly #failed: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #later: NodeJS.Timeout | undefined;
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
    const { blobs, ingests } = this;
    this.#collection = new Collection({
      store,
      blobs,
      ingests,
      snapshotters: [...this.#snapshotters.values()],
    });
    this.publish = imageEvents(exchange);
    this.#store = store;
    this.#failed = failed;
  }

  /** Holds collections off until the returned function is called: for who makes something that nothing names yet. */
  share(): Promise<() => void> {
    return this.#lock.share();
  }

  /** Puts a resource on a lease, if there is one, in place of `instead`. Rejects with NOT_FOUND for a lease that is not there. */
  async keep(
    namespace: string,
    lease: string | undefined,
    resource: LeaseResource,
    instead: LeaseResource = resource,
  ): Promise<void> {
    if (lease === undefined) return;
    await this.#store.leases.update(namespace, lease, (record) => ({
      ...record,
      resources: [...without(without(record.resources, resource), instead), resource],
    }));
  }

  /** Takes it off again. */
  async letGo(namespace: string, lease: string | undefined, resource: LeaseResource): Promise<void> {
    if (lease === undefined) return;
    await this.#store.leases.update(namespace, lease, (record) => ({
      ...record,
      resources: without(record.resources, resource),
    }));
  }

  // --- snapshots

  /** Throws INVALID_ARGUMENT for a name that is not known. */
  snapshotter(name: string): Snapshotter {
    const snapshotter = this.#snapshotters.get(name);
    if (snapshotter !== undefined) return snapshotter;
    if (name === "")
      throw new TtrpcError(Code.INVALID_ARGUMENT, "snapshotter argument missing: invalid argument");
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
    if (record === undefined) throw noSnapshot(key);
    return record;
  }

  /** The same, and that nobody is about to remove it. */
  restingSnapshot(namespace: string, snapshotter: string, key: string): SnapshotRecord {
    const record = this.snapshot(namespace, snapshotter, key);
    if (!this.hasSnapshot(namespace, snapshotter, key)) throw noSnapshot(key);
    return record;
  }

  /** Whether it is there, and stays there unless somebody has it removed from now on. */
  hasSnapshot(namespace: string, snapshotter: string, key: string): boolean {
    const isKnown = this.#store.snapshots.find(namespace, snapshotId(snapshotter, key)) !== undefined;
    return isKnown && !this.claims.isChanging(claimId(namespace, snapshotter, key));
  }

  /** Whether the name is taken, or about to be. */
  isSnapshotTaken(namespace: string, snapshotter: string, key: string): boolean {
    const isKnown = this.#store.snapshots.find(namespace, snapshotId(snapshotter, key)) !== undefined;
    return isKnown || this.claims.isChanging(claimId(namespace, snapshotter, key));
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
      const { kind, directory, parent } = this.restingSnapshot(namespace, snapshotter, name);
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
    const { directory } = this.restingSnapshot(namespace, snapshotter, key);
    const child = this.snapshotKeys(namespace, snapshotter).find(
      (each) => this.snapshot(namespace, snapshotter, each).parent === key,
    );
    const claim = claimId(namespace, snapshotter, key);
    if (child !== undefined || this.claims.isCarrying(claim)) {
      const named = child === undefined ? "" : ` ${child}`;
      const text = `cannot remove snapshot ${key} with child${named}: failed precondition`;
      throw new TtrpcError(Code.FAILED_PRECONDITION, text);
    }
    const done = this.claims.change(claim);
    try {
      await this.#store.snapshots.remove(namespace, snapshotId(snapshotter, key));
    } finally {
      done();
    }
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

  /** Removes files of a snapshotter that are on no record, and nothing else. Throws INVALID_ARGUMENT for a name that is not known. */
  async cleanUp(name: string): Promise<void> {
    const snapshotter = this.snapshotter(name);
    const release = await this.#lock.exclude();
    try {
      this.#collection.sweepFiles([snapshotter]);
    } finally {
      release();
    }
    await snapshotter.clear(this.layers);
  }

  // --- collection

  /** Collects before long, but not what somebody may have made a moment ago for what comes next: containerd leaves it there longer. */
  collectSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#collect(GRACE_MS).then(({ spared }) => {
        if (spared > 0) this.#collectLater();
      }, this.#failed);
    }, COLLECT_AFTER_MS).unref();
  }

  #collectLater(): void {
    clearTimeout(this.#later);
    this.#later = setTimeout(() => this.collectSoon(), GRACE_MS).unref();
  }

  /** Removes what nothing keeps. Waits for who makes something, who is not done. */
  collect(): Promise<Collected> {
    return this.#collect(0);
  }

  async #collect(graceMs: number): Promise<Collected> {
    const release = await this.#lock.exclude();
    let collected: Collected;
    try {
      collected = await this.#collection.run(graceMs);
    } finally {
      release();
    }
    await Promise.all([...this.#snapshotters.values()].map((each) => each.clear(this.layers)));
    return collected;
  }

  /** No collection begins any more. */
  close(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#later);
  }
}

function noSnapshot(key: string): TtrpcError {
  return new TtrpcError(Code.NOT_FOUND, `snapshot ${key} does not exist: not found`);
}

export function without(resources: LeaseRecord["resources"], { id, type }: LeaseResource): LeaseResource[] {
  return resources.filter((each) => each.id !== id || each.type !== type);
}
