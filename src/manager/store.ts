// holdfastd's records on disk: one LMDB file under the root directory. Opened by daemon.ts.
import { randomUUID } from "node:crypto";
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Database, open, type RootDatabase } from "lmdb";
import type { Codec } from "../api/any.ts";
import { Container } from "../api/generated/containers.ts";
import { GetHistoryResponse as History } from "../api/generated/history.ts";
import { type BadRecord, type RecordCodec, Table } from "./table.ts";

export interface NamespaceRecord {
  readonly labels: Record<string, string>;
}

export interface LeaseRecord {
  /** Nanoseconds since 1970, in decimal. */
  readonly createdAt: string;
  readonly labels: Record<string, string>;
  readonly resources: readonly { readonly id: string; readonly type: string }[];
}

type Key = [namespace: string, id: string];

const DATABASES = 8;
/** LMDB's first pages say what it is. */
const META_MAGIC = 0xbeefc0de;
const META_MAGIC_OFFSET = 24;
const META_PAGES = 2;
const PAGE_BYTES = 4096;

export class Store {
  readonly path: string;
  readonly namespaces: Table<NamespaceRecord>;
  readonly containers: Table<Container>;
  readonly leases: Table<LeaseRecord>;
  readonly histories: Table<History>;
  readonly #root: RootDatabase<Buffer, Key>;
  readonly #aside: Database<Buffer, [...Key, kind: string]>;
  readonly #identity: Database<Buffer, string>;

  /** Opens or makes the store. Throws, naming the file, if it is not one. */
  constructor(directory: string) {
    this.path = join(directory, "store.mdb");
    this.#root = openFile(this.path);
    const database = <K extends string | unknown[]>(name: string): Database<Buffer, K & Key> =>
      this.#root.openDB<Buffer, K & Key>({ name, encoding: "binary" });
    this.namespaces = new Table("namespace", database("namespaces"), jsonCodec());
    this.containers = new Table("container", database("containers"), messageCodec(Container));
    this.leases = new Table("lease", database("leases"), jsonCodec());
    this.histories = new Table("history", database("histories"), messageCodec(History));
    this.#aside = this.#root.openDB({ name: "set-aside", encoding: "binary" });
    this.#identity = this.#root.openDB({ name: "identity", encoding: "binary" });
  }

  /** Reads everything. Records that cannot be read are set aside, and returned. */
  async load(): Promise<BadRecord[]> {
    const bad: BadRecord[] = [];
    for (const [kind, table] of Object.entries({
      namespaces: this.namespaces,
      containers: this.containers,
      leases: this.leases,
      histories: this.histories,
    })) {
      bad.push(...(await table.load((key, bytes) => this.#aside.put([...key, kind], bytes))));
    }
    return bad;
  }

  /** A random id that stays the same as long as the store exists. */
  async uuid(): Promise<string> {
    const known = this.#identity.get("uuid");
    if (known !== undefined) return known.toString();
    const fresh = randomUUID();
    await this.#identity.put("uuid", Buffer.from(fresh));
    return fresh;
  }

  close(): Promise<void> {
    return this.#root.close();
  }
}

function openFile(path: string): RootDatabase<Buffer, Key> {
  try {
    demandStore(path);
    return open<Buffer, Key>({ path, encoding: "binary", maxDbs: DATABASES });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`cannot open the store ${path}: ${reason}; move it away to begin with an empty one`, {
      cause: error,
    });
  }
}

/** LMDB's binding crashes on a file of another kind. A file that is missing or empty becomes a store. */
function demandStore(path: string): void {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size === 0) return;
  const header = Buffer.alloc(META_MAGIC_OFFSET + 4);
  const file = openSync(path, "r");
  try {
    readSync(file, header);
  } finally {
    closeSync(file);
  }
  if (header.readUInt32LE(META_MAGIC_OFFSET) !== META_MAGIC) throw new Error("it is no LMDB file");
  if (size < META_PAGES * PAGE_BYTES) throw new Error(`it is cut off after ${size} bytes`);
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
