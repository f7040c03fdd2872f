// What a server keeps of its connections and calls, so that a successor of its process can answer them: the descriptor of each connection, its last stream,
// and every request that has no answer yet. Kept with the state (state-log.ts); used by server.ts.
//
// A request is written down before its bytes are taken from the kernel, and forgotten after its answer was handed over. So a successor that finds
// requests at the front of the connection that are written down, or older than one that is, takes them for those it knows, and one that answers a call twice is ignored: a client knows no such
// stream any more. A frame that is too long to be taken or handed over in one piece puts the connection in doubt meanwhile: a successor closes it.
import type { Records } from "../platform/state-log.ts";

/** A connection that an earlier process has left. */
export interface KeptConnection {
  readonly fd: number;
  readonly lastId: number;
  /** Requests without an answer, by stream. */
  readonly calls: readonly (readonly [id: number, data: Uint8Array])[];
  /** Whether nobody knows where in a frame it stands. */
  readonly isInDoubt: boolean;
}

/** Why a connection is in doubt. */
type Doubt = "request" | "answer";

export class CallRecords {
  readonly #records: Records;

  constructor(records: Records) {
    this.#records = records;
  }

  connection(fd: number): ConnectionRecord {
    return new ConnectionRecord(this.#records, fd);
  }

  /** Drops what an earlier process has left of a connection that is not gone on with. */
  forget({ fd, calls }: KeptConnection): void {
    this.connection(fd).remove(calls.map(([id]) => id));
  }
}

export class ConnectionRecord {
  readonly #records: Records;
  readonly #fd: number;
  readonly #doubts = new Set<Doubt>();

  constructor(records: Records, fd: number) {
    this.#records = records;
    this.#fd = fd;
  }

  put(lastId: () => number): void {
    this.#records.put(this.#key, () => `[${this.#fd},${lastId()},${this.#doubts.size > 0}]`);
  }

  begin(id: number, data: Uint8Array): void {
    this.#records.put(this.#callKey(id), () => data);
    this.#records.changed(this.#key);
  }

  end(id: number): void {
    this.#records.remove(this.#callKey(id));
  }

  doubt(why: Doubt, begins: boolean): void {
    if (this.#doubts.has(why) === begins) return;
    if (begins) this.#doubts.add(why);
    else this.#doubts.delete(why);
    this.#records.changed(this.#key);
  }

  remove(calls: readonly number[]): void {
    for (const id of calls) this.end(id);
    this.#records.remove(this.#key);
  }

  get #key(): string {
    return `connection ${this.#fd}`;
  }

  #callKey(id: number): string {
    return `call ${this.#fd} ${id}`;
  }
}

/** The connections of a state. */
export function keptConnections(
  records: ReadonlyMap<string, Uint8Array>,
  decode: (bytes: Uint8Array) => string,
): KeptConnection[] {
  const kept: KeptConnection[] = [];
  for (const [key, content] of records) {
    if (!key.startsWith("connection ")) continue;
    const [fd, lastId, isInDoubt] = JSON.parse(decode(content)) as [number, number, boolean];
    const prefix = `call ${fd} `;
    const calls = [...records]
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, data]) => [Number(name.slice(prefix.length)), data] as const);
    kept.push({ fd, lastId, calls, isInDoubt });
  }
  return kept;
}
