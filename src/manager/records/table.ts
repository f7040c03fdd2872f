// One kind of record by namespace and id: in memory for reading, in LMDB for good. store.ts has one for each kind.
import { createHash } from "node:crypto";
import type { Database } from "lmdb";
import type { SharedLock } from "../../images/shared-lock.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";

/** Bytes of the checksum before each record. */
const CHECKSUM_BYTES = 8;

export interface RecordCodec<T> {
  encode(record: T): Uint8Array;
  /** Throws on bytes that are no record. */
  decode(bytes: Uint8Array): T;
}

/** A stored record that could not be read. */
export interface BadRecord {
  readonly kind: string;
  readonly namespace: string;
  readonly id: string;
  readonly reason: string;
}

type Key = [namespace: string, id: string];

/** Records that the machine's end may take with it: nothing waits for the disk because of them. */
export interface Unsynced<T> {
  readonly database: Database<Buffer, Key>;
  /** Whether a record is one of them. No change of it changes that. */
  readonly holds: (record: T) => boolean;
}

type SetAside = (key: Key, bytes: Buffer) => Promise<unknown>;

interface Unreadable {
  readonly database: Database<Buffer, Key>;
  readonly key: Key;
  readonly value: Buffer;
  readonly bad: BadRecord;
}

export class Table<T> {
  readonly #kind: string;
  readonly #database: Database<Buffer, Key>;
  readonly #codec: RecordCodec<T>;
  readonly #known = new Map<string, Map<string, T>>();
  /** Reads the records, if that has been put off. */
  #unread: (() => void) | undefined;
  /** Changes of one record happen one after another. */
  readonly #pending = new Map<string, Promise<unknown>>();
  readonly #changes: SharedLock | undefined;
  readonly #unsynced: Unsynced<T> | undefined;

  /** `kind` is what errors call a record. Every change shares `changes`. */
  constructor(
    kind: string,
    database: Database<Buffer, Key>,
    codec: RecordCodec<T>,
    changes?: SharedLock,
    unsynced?: Unsynced<T>,
  ) {
    this.#changes = changes;
    this.#unsynced = unsynced;
    this.#kind = kind;
    this.#database = database;
    this.#codec = codec;
  }

  /** Reads all records. Those that cannot be read are returned, with their bytes handed to `setAside` and taken out. */
  async load(setAside: SetAside): Promise<BadRecord[]> {
    const unreadable = this.#read();
    for (const each of unreadable) await this.#take(each, setAside);
    await this.#moveUnsynced();
    return unreadable.map(({ bad }) => bad);
  }

  /** An earlier version has kept all in one file. */
  async #moveUnsynced(): Promise<void> {
    if (this.#unsynced === undefined) return;
    for (const { key, value } of [...this.#database.getRange()]) {
      if (!this.#unsynced.holds(this.get(...key))) continue;
      await this.#unsynced.database.put(key, value);
      await this.#database.remove(key);
    }
  }

  /** The same when the first record is wanted, and not before; `found` gets those that cannot be read. */
  loadLater(setAside: SetAside, found: (bad: BadRecord) => void): void {
    this.#unread = () => {
      for (const each of this.#read()) {
        const { bad } = each;
        this.#take(each, setAside).then(
          () => found(bad),
          (error: unknown) => found({ ...bad, reason: `${bad.reason}; ${error}` }),
        );
      }
    };
  }

  #read(): Unreadable[] {
    const databases = [this.#database, ...(this.#unsynced === undefined ? [] : [this.#unsynced.database])];
    return databases.flatMap((database) => this.#readFrom(database));
  }

  #readFrom(database: Database<Buffer, Key>): Unreadable[] {
    const unreadable: Unreadable[] = [];
    for (const { key, value } of [...database.getRange()]) {
      const [namespace, id] = key;
      try {
        this.#remember(namespace, id, this.#codec.decode(unseal(value)));
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        unreadable.push({ database, key, value, bad: { kind: this.#kind, namespace, id, reason } });
      }
    }
    return unreadable;
  }

  async #take({ database, key, value }: Unreadable, setAside: SetAside): Promise<void> {
    await setAside(key, value);
    await database.remove(key);
  }

  #databaseOf(record: T): Database<Buffer, Key> {
    return this.#unsynced?.holds(record) === true ? this.#unsynced.database : this.#database;
  }

  get #records(): Map<string, Map<string, T>> {
    const read = this.#unread;
    this.#unread = undefined;
    read?.();
    return this.#known;
  }

  namespaces(): string[] {
    return [...this.#records.keys()];
  }

  /** In order, as containerd lists what it has. */
  ids(namespace: string): string[] {
    return [...(this.#records.get(namespace)?.keys() ?? [])].sort();
  }

  /** In the order of their ids. */
  list(namespace: string): T[] {
    const records = this.#records.get(namespace);
    return records === undefined ? [] : this.ids(namespace).map((id) => records.get(id) as T);
  }

  find(namespace: string, id: string): T | undefined {
    return this.#records.get(namespace)?.get(id);
  }

  /** Throws NOT_FOUND. */
  get(namespace: string, id: string): T {
    const record = this.find(namespace, id);
    if (record === undefined) throw this.#missing(namespace, id);
    return record;
  }

  /** Resolves once it would survive the end of this process. Rejects with ALREADY_EXISTS, or if it cannot be written. */
  insert(namespace: string, id: string, record: T): Promise<void> {
    return this.#inTurn(namespace, id, async () => {
      if (this.find(namespace, id) !== undefined) {
        throw new TtrpcError(Code.ALREADY_EXISTS, `${this.#kind} ${JSON.stringify(id)}: already exists`);
      }
      await this.#write(namespace, id, record);
    });
  }

  /** Puts what `change` makes of the record in its place; rejects with NOT_FOUND, or with what `change` throws. */
  update(namespace: string, id: string, change: (record: T) => T): Promise<T> {
    return this.#inTurn(namespace, id, async () => {
      const record = change(this.get(namespace, id));
      await this.#write(namespace, id, record);
      return record;
    });
  }

  /** Writes it, whether it is there or not, before it returns. Throws if it cannot be written. Not to be mixed with changes of the same record that wait. */
  putNow(namespace: string, id: string, record: T): void {
    const bytes = seal(this.#codec.encode(record));
    this.#now(namespace, id, () => this.#databaseOf(record).putSync([namespace, id], bytes));
    this.#remember(namespace, id, record);
  }

  /** Removes it, if it is there, before it returns. Throws if that cannot be written. */
  removeNow(namespace: string, id: string): void {
    const record = this.find(namespace, id);
    if (record === undefined) return;
    this.#now(namespace, id, () => this.#databaseOf(record).removeSync([namespace, id]));
    this.#forget(namespace, id);
  }

  #now(namespace: string, id: string, write: () => unknown): void {
    try {
      write();
    } catch (error) {
      throw this.#unwritten(namespace, id, error);
    }
  }

  /** Rejects with NOT_FOUND. */
  remove(namespace: string, id: string): Promise<T> {
    return this.#inTurn(namespace, id, async () => {
      const record = this.get(namespace, id);
      await this.#remove(namespace, id, record);
      return record;
    });
  }

  /** Removes several that are there. Only for who has `changes` alone: nothing else changes a record then. */
  async removeAll(namespace: string, ids: readonly string[]): Promise<void> {
    const done = await Promise.allSettled(
      ids.map((id) => this.#remove(namespace, id, this.get(namespace, id))),
    );
    for (const each of done) if (each.status === "rejected") throw each.reason;
  }

  async #remove(namespace: string, id: string, record: T): Promise<void> {
    await this.#commit(namespace, id, this.#databaseOf(record).remove([namespace, id]));
    this.#forget(namespace, id);
  }

  async #write(namespace: string, id: string, record: T): Promise<void> {
    const bytes = seal(this.#codec.encode(record));
    await this.#commit(namespace, id, this.#databaseOf(record).put([namespace, id], bytes));
    this.#remember(namespace, id, record);
  }

  async #commit(namespace: string, id: string, written: Promise<boolean>): Promise<void> {
    try {
      await written;
    } catch (error) {
      throw this.#unwritten(namespace, id, await causeOf(error));
    }
  }

  #unwritten(namespace: string, id: string, cause: unknown): TtrpcError {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const text = `cannot write ${this.#nameOf(namespace, id)}: ${reason}`;
    return new TtrpcError(Code.RESOURCE_EXHAUSTED, text, { cause });
  }

  #remember(namespace: string, id: string, record: T): void {
    let records = this.#records.get(namespace);
    if (records === undefined) {
      records = new Map();
      this.#records.set(namespace, records);
    }
    records.set(id, record);
  }

  #forget(namespace: string, id: string): void {
    const records = this.#records.get(namespace);
    records?.delete(id);
    if (records?.size === 0) this.#records.delete(namespace);
  }

  #missing(namespace: string, id: string): TtrpcError {
    return new TtrpcError(Code.NOT_FOUND, `${this.#nameOf(namespace, id)}: not found`);
  }

  /** For an error, in containerd's words. */
  #nameOf(namespace: string, id: string): string {
    const isBare = namespace === "" || this.#kind === "image" || this.#kind === "lease";
    const place = isBare ? "" : ` in namespace ${JSON.stringify(namespace)}`;
    return `${this.#kind} ${JSON.stringify(id)}${place}`;
  }

  async #inTurn<R>(namespace: string, id: string, act: () => Promise<R>): Promise<R> {
    const key = `${namespace}/${id}`;
    const before = this.#pending.get(key);
    const turn = (before ?? Promise.resolve()).catch(() => {}).then(() => this.#shared(act));
    this.#pending.set(key, turn);
    try {
      return await turn;
    } finally {
      if (this.#pending.get(key) === turn) this.#pending.delete(key);
    }
  }

  async #shared<R>(act: () => Promise<R>): Promise<R> {
    const release = await this.#changes?.share();
    try {
      return await act();
    } finally {
      release?.();
    }
  }
}

/** lmdb tells why a commit failed by a promise that rejects. */
async function causeOf(error: unknown): Promise<unknown> {
  try {
    await (error as { commitError?: Promise<unknown> }).commitError;
    return error;
  } catch (cause) {
    return cause;
  }
}

function checksum(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest().subarray(0, CHECKSUM_BYTES);
}

function seal(bytes: Uint8Array): Buffer {
  return Buffer.concat([checksum(bytes), bytes]);
}

function unseal(value: Buffer): Uint8Array {
  const bytes = new Uint8Array(value.subarray(CHECKSUM_BYTES));
  if (!checksum(bytes).equals(value.subarray(0, CHECKSUM_BYTES))) throw new Error("its checksum is wrong");
  return bytes;
}
