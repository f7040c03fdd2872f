// holdfastd's records on disk: two LMDB files under the root directory. Opened by daemon.ts.
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { Database, RootDatabase } from "lmdb";
import type { Codec } from "../../api/any.ts";
import { Container } from "../../api/generated/containers.ts";
import { HistoryRecord } from "../../api/generated/history.ts";
import { Image } from "../../api/generated/images.ts";
import { CLIENT_LABEL } from "../../api/labels.ts";
import { SharedLock } from "../../images/shared-lock.ts";
import { type LmdbKey as Key, openLmdb, UnsyncedFile } from "./lmdb-file.ts";
import { type BadRecord, type RecordCodec, Table } from "./table.ts";

export interface NamespaceRecord {
  readonly labels: Record<string, string>;
}

/** `isUnleased` is set of what was made under no lease: its client may be about to name it. */
export interface ContentRecord {
  readonly size: number;
  /** Nanoseconds since 1970, in decimal, as are all times here. */
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly labels: Record<string, string>;
  readonly isUnleased?: boolean;
}

export interface SnapshotRecord {
  readonly kind: "active" | "view" | "committed";
  /** Its directory's name. */
  readonly directory: string;
  /** The key of a committed one; "" for none. */
  readonly parent: string;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly labels: Record<string, string>;
  readonly isUnleased?: boolean;
  /** Of a committed one. */
  readonly usage?: { readonly size: string; readonly inodes: string };
}

export interface LeaseResource {
  readonly id: string;
  /** "content", "ingests", or "snapshots/" and the snapshotter. */
  readonly type: string;
}

export interface LeaseRecord {
  /** Nanoseconds since 1970, in decimal. */
  readonly createdAt: string;
  readonly labels: Record<string, string>;
  readonly resources: readonly LeaseResource[];
}

export class Store {
  readonly path: string;
  readonly namespaces: Table<NamespaceRecord>;
  readonly containers: Table<Container>;
  readonly leases: Table<LeaseRecord>;
  readonly images: Table<Image>;
  /** By digest. */
  readonly contents: Table<ContentRecord>;
  /** By `snapshotter/key`. */
  readonly snapshots: Table<SnapshotRecord>;
  readonly histories: Table<HistoryRecord>;
  /** Held by every change of a record that keeps another, or is kept; a collection has it alone. */
  readonly changes: SharedLock = new SharedLock();
  readonly #root: RootDatabase<Buffer, Key>;
  readonly #unsynced: UnsyncedFile;
  readonly #aside: Database<Buffer, [...Key, kind: string]>;
  readonly #identity: Database<Buffer, string>;

  /** Opens or makes the store. Throws, naming the file, if it is not one. */
  constructor(directory: string) {
    this.path = join(directory, "store.mdb");
    this.#root = openLmdb(this.path);
    // Written at every event; only what clients have asked us to keep is worth waiting for the disk.
    this.#unsynced = new UnsyncedFile(join(directory, "history.mdb"));
    const database = <K extends string | unknown[]>(name: string): Database<Buffer, K & Key> =>
      this.#root.openDB<Buffer, K & Key>({ name, encoding: "binary" });
    const passing = (name: string): Database<Buffer, Key> =>
      this.#unsynced.root.openDB<Buffer, Key>({ name, encoding: "binary" });
    this.namespaces = new Table("namespace", database("namespaces"), jsonCodec());
    this.containers = new Table("container", database("containers"), messageCodec(Container), this.changes);
    // One that ends with a process is over when the machine is.
    this.leases = new Table<LeaseRecord>("lease", database("leases"), jsonCodec(), this.changes, {
      database: passing("leases"),
      holds: ({ labels }) => labels[CLIENT_LABEL] !== undefined,
    });
    this.images = new Table("image", database("images"), messageCodec(Image), this.changes);
    this.contents = new Table("content", database("contents"), jsonCodec(), this.changes);
    this.snapshots = new Table("snapshot", database("snapshots"), jsonCodec(), this.changes);
    this.histories = new Table("history", passing("histories"), messageCodec(HistoryRecord));
    this.#aside = this.#root.openDB({ name: "set-aside", encoding: "binary" });
    this.#identity = this.#root.openDB({ name: "identity", encoding: "binary" });
  }

  /**
   * Reads the records, but those of images, of which there may be many, and which are read when they are first wanted. Records that cannot be read are set
   * aside; `found` gets each.
   */
  async load(found: (bad: BadRecord) => void): Promise<void> {
    if (this.#unsynced.lost !== undefined)
      found({ kind: "history", namespace: "", id: "", reason: this.#unsynced.lost });
    const asideAs =
      (kind: string) =>
      (key: Key, bytes: Buffer): Promise<unknown> =>
        this.#aside.put([...key, kind], bytes);
    const { namespaces, containers, leases, histories, images, contents, snapshots } = this;
    for (const [kind, table] of Object.entries({ namespaces, containers, leases, histories }))
      for (const bad of await table.load(asideAs(kind))) found(bad);
    for (const [kind, table] of Object.entries({ images, contents, snapshots }))
      table.loadLater(asideAs(kind), found);
  }

  /** A random id that stays the same as long as the store exists. */
  async uuid(): Promise<string> {
    const known = this.#identity.get("uuid");
    if (known !== undefined) return known.toString();
    const fresh = randomUUID();
    await this.#identity.put("uuid", Buffer.from(fresh));
    return fresh;
  }

  async close(): Promise<void> {
    await this.#root.close();
    await this.#unsynced.close();
  }
}

function jsonCodec<T>(): RecordCodec<T> {
  return {
    encode: (record) => Buffer.from(JSON.stringify(record)),
    decode: (bytes) => JSON.parse(Buffer.from(bytes).toString()) as T,
  };
}

function messageCodec<T>(codec: Codec<T>): RecordCodec<T> {
  return { encode: (record) => codec.encode(record).finish(), decode: (bytes) => codec.decode(bytes) };
}
