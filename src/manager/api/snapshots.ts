// The snapshots service: names, parents and labels of the layers that src/images keeps on disk (containerd's metadata/snapshot.go).
import { type Info, Kind, type SnapshotsDefinition } from "../../api/generated/snapshots.ts";
import { timestampFromNs } from "../../api/timestamp.ts";
import type { SnapshotMount } from "../../images/mount.ts";
import { failpoint } from "../../platform/failpoint.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { claimId, type Images, snapshotId } from "../images/images.ts";
import type { SnapshotRecord, Store } from "../records/store.ts";
import { parseFilters } from "../server/filters.ts";
import type { Call, Handlers } from "../server/grpc-server.ts";
import { validateLabels } from "../server/identifiers.ts";
import { changeLabels, nowText, withoutEmpty } from "./labels.ts";
import { ensureNamespace } from "./namespaces.ts";

const LIST_BATCH = 100;
const KINDS = { active: Kind.ACTIVE, view: Kind.VIEW, committed: Kind.COMMITTED } as const;
/** A client names the snapshot that it unpacks by this: the one that is there already is taken (containerd's snapshots/snapshotter.go). */
const TARGET_LABEL = "containerd.io/snapshot.ref";

interface Making {
  readonly snapshotter: string;
  readonly key: string;
  readonly parent: string;
  readonly labels: Record<string, string>;
}

export function snapshotsService(images: Images, store: Store): Handlers<SnapshotsDefinition> {
  const { snapshots } = store;

  const keep = ({ namespace, lease }: Call, snapshotter: string, id: string): Promise<void> =>
    images.keep(namespace, lease, { id, type: `snapshots/${snapshotter}` });

  /** Whoever hears that a name is taken goes on with what has it: that is on the caller's lease then, as with containerd 2. */
  const taken = async (call: Call, snapshotter: string, key: string): Promise<TtrpcError> => {
    if (images.hasSnapshot(call.namespace, snapshotter, key)) await keep(call, snapshotter, key);
    return new TtrpcError(Code.ALREADY_EXISTS, `snapshot ${JSON.stringify(key)}: already exists`);
  };

  const make = async (kind: "active" | "view", request: Making, call: Call): Promise<SnapshotMount[]> => {
    const { snapshotter, key, parent } = request;
    const { namespace, lease } = call;
    const disk = await images.usableSnapshotter(snapshotter);
    if (key === "") throw new TtrpcError(Code.INVALID_ARGUMENT, "snapshot key is required: invalid argument");
    validateLabels("info.Labels", request.labels);
    const labels = withoutEmpty(request.labels);
    await ensureNamespace(store, namespace);
    const release = await images.share();
    try {
      if (lease !== undefined) store.leases.get(namespace, lease);
      const target = labels[TARGET_LABEL];
      if (target !== undefined && images.hasSnapshot(namespace, snapshotter, target)) {
        await keep(call, snapshotter, target);
        throw new TtrpcError(
          Code.ALREADY_EXISTS,
          `target snapshot ${JSON.stringify(target)}: already exists`,
        );
      }
      if (images.isSnapshotTaken(namespace, snapshotter, key)) throw await taken(call, snapshotter, key);
      if (parent !== "" && !images.hasSnapshot(namespace, snapshotter, parent))
        throw new TtrpcError(Code.NOT_FOUND, `parent snapshot ${parent} does not exist: not found`);
      const parents = parent === "" ? [] : images.chain(namespace, snapshotter, parent);
      const directory = images.nextDirectory();
      const place = (name: string): string => claimId(namespace, snapshotter, name);
      const claimed = [images.claims.change(place(key)), images.claims.carry(place(parent))];
      try {
        await disk.make(directory, kind, parents);
        failpoint("snapshot:made");
        const now = nowText();
        const isUnleased = lease === undefined;
        const times = { createdAt: now, updatedAt: now };
        const record: SnapshotRecord = { kind, directory, parent, ...times, labels, isUnleased };
        // Together they wait for the disk once.
        await Promise.all([
          keep(call, snapshotter, key),
          snapshots.insert(namespace, snapshotId(snapshotter, key), record),
        ]);
        return disk.mounts(directory, kind, parents);
      } finally {
        for (const done of claimed) done();
      }
    } finally {
      release();
    }
  };

  return {
    async prepare(request, call) {
      const mounts = await make("active", request, call);
      const { key, parent, snapshotter } = request;
      images.publish.snapshotPrepared(call.namespace, { key, parent, snapshotter });
      return { mounts };
    },

    view: async (request, call) => ({ mounts: await make("view", request, call) }),

    mounts({ snapshotter, key }, call) {
      return { mounts: images.mountsOf(call.namespace, snapshotter, key) };
    },

    async commit({ snapshotter, name, key, labels }, call) {
      const { namespace, lease } = call;
      images.snapshotter(snapshotter);
      if (name === "")
        throw new TtrpcError(Code.INVALID_ARGUMENT, "snapshot name is required: invalid argument");
      validateLabels("info.Labels", labels);
      const release = await images.share();
      try {
        if (lease !== undefined) store.leases.get(namespace, lease);
        const isTaken = (): boolean => images.isSnapshotTaken(namespace, snapshotter, name);
        const ready = (): SnapshotRecord => activeSnapshot(images, namespace, snapshotter, key);
        if (isTaken()) throw await taken(call, snapshotter, name);
        const { size, inodes } = await images.snapshotter(snapshotter).usage(ready().directory);
        // While its files were counted, somebody may have removed it, or committed another under the name.
        if (isTaken()) throw await taken(call, snapshotter, name);
        const active = ready();
        const now = nowText();
        const record: SnapshotRecord = {
          ...active,
          kind: "committed",
          createdAt: now,
          updatedAt: now,
          labels: withoutEmpty(labels),
          isUnleased: lease === undefined,
          usage: { size: String(size), inodes: String(inodes) },
        };
        const place = (each: string): string => claimId(namespace, snapshotter, each);
        const done = images.claims.change(place(name), place(key));
        try {
          // In this order, should they not come to the disk together.
          await Promise.all([
            keep(call, snapshotter, name),
            snapshots.insert(namespace, snapshotId(snapshotter, name), record),
            snapshots.remove(namespace, snapshotId(snapshotter, key)),
          ]);
        } finally {
          done();
        }
        images.publish.snapshotCommitted(namespace, { key, name, snapshotter });
        return {};
      } finally {
        release();
      }
    },

    async remove({ snapshotter, key }, call) {
      await images.removeSnapshot(call.namespace, snapshotter, key);
      images.publish.snapshotRemoved(call.namespace, { key, snapshotter });
      images.collectSoon();
      return {};
    },

    stat({ snapshotter, key }, call) {
      return { info: describe(key, images.snapshot(call.namespace, snapshotter, key)) };
    },

    async update({ snapshotter, info, updateMask }, call) {
      const { name, labels } = info ?? { name: "", labels: {} };
      if (name === "")
        throw new TtrpcError(Code.INVALID_ARGUMENT, "snapshot name is required: invalid argument");
      images.snapshot(call.namespace, snapshotter, name);
      const record = await snapshots.update(call.namespace, snapshotId(snapshotter, name), (before) => ({
        ...before,
        updatedAt: nowText(),
        labels: changeLabels("snapshot", before.labels, labels, updateMask ?? [], name),
      }));
      return { info: describe(name, record) };
    },

    async *list({ snapshotter, filters }, call) {
      images.snapshotter(snapshotter);
      const matches = parseFilters(filters);
      const infos = images
        .snapshotKeys(call.namespace, snapshotter)
        .map((key) => describe(key, images.snapshot(call.namespace, snapshotter, key)))
        .filter((info) => matches((path) => fieldOf(info, path)));
      for (let at = 0; at < infos.length; at += LIST_BATCH) yield { info: infos.slice(at, at + LIST_BATCH) };
    },

    async usage({ snapshotter, key }, call) {
      const { kind, usage, directory } = images.snapshot(call.namespace, snapshotter, key);
      // It has no files of its own.
      if (kind === "view") return { size: 0n, inodes: 0n };
      if (usage !== undefined) return { size: BigInt(usage.size), inodes: BigInt(usage.inodes) };
      return images.snapshotter(snapshotter).usage(directory);
    },

    async cleanup({ snapshotter }) {
      await images.cleanUp(snapshotter);
      return {};
    },
  };
}

/** Throws NOT_FOUND, and FAILED_PRECONDITION for one of another kind. */
function activeSnapshot(images: Images, namespace: string, snapshotter: string, key: string): SnapshotRecord {
  const record = images.restingSnapshot(namespace, snapshotter, key);
  if (record.kind === "active") return record;
  throw new TtrpcError(Code.FAILED_PRECONDITION, `snapshot ${key} is not active: failed precondition`);
}

function describe(name: string, { kind, parent, createdAt, updatedAt, labels }: SnapshotRecord): Info {
  return {
    name,
    parent,
    kind: KINDS[kind],
    createdAt: timestampFromNs(BigInt(createdAt)),
    updatedAt: timestampFromNs(BigInt(updatedAt)),
    labels,
  };
}

function fieldOf(
  { name, parent, kind, labels }: Info,
  [first, ...rest]: readonly string[],
): string | undefined {
  if (first === "name") return name;
  if (first === "parent") return parent;
  if (first === "kind") return kind === Kind.COMMITTED ? "committed" : kind === Kind.VIEW ? "view" : "active";
  return first === "labels" ? labels[rest.join(".")] : undefined;
}
