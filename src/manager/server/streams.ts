// Streams that clients have opened under an id, for a transfer to name: credentials, progress, archives (containerd's streaming service).
import type { Any } from "../../api/generated/google/protobuf/any.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";

/** As many messages as wait for a client that does not read. Progress only: what must arrive waits for the client's word. */
const MAX_WAITING = 4096;

export class ClientStream {
  readonly #incoming: AsyncIterator<Any>;
  #outgoing: Any[] = [];
  #closed = false;
  #wake: () => void = () => {};

  constructor(incoming: AsyncIterator<Any>) {
    this.#incoming = incoming;
  }

  /** Nothing happens when it is closed. */
  send(message: Any): void {
    if (this.#closed || this.#outgoing.length >= MAX_WAITING) return;
    this.#outgoing.push(message);
    this.#wake();
  }

  /** The client's next message; undefined when there are no more. */
  async receive(): Promise<Any | undefined> {
    const { value, done } = await this.#incoming
      .next()
      .catch(() => ({ value: undefined, done: true }) as const);
    return done === true ? undefined : value;
  }

  /** What has been sent goes out before the client sees the end. */
  close(): void {
    this.#closed = true;
    this.#wake();
  }

  /** What goes to the client, until it is closed. */
  async *messages(): AsyncGenerator<Any> {
    for (;;) {
      for (const message of this.#outgoing.splice(0)) yield message;
      if (this.#closed && this.#outgoing.length === 0) return;
      if (this.#outgoing.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

export class Streams {
  readonly #streams = new Map<string, ClientStream>();

  /** Returns what takes it off. Throws ALREADY_EXISTS. */
  register(namespace: string, id: string, stream: ClientStream): () => void {
    const key = `${namespace}/${id}`;
    if (id === "") throw new TtrpcError(Code.INVALID_ARGUMENT, "stream id is required: invalid argument");
    if (this.#streams.has(key))
      throw new TtrpcError(Code.ALREADY_EXISTS, `stream ${JSON.stringify(id)}: already exists`);
    this.#streams.set(key, stream);
    return () => this.#streams.delete(key);
  }

  /** Throws NOT_FOUND. */
  get(namespace: string, id: string): ClientStream {
    const stream = this.#streams.get(`${namespace}/${id}`);
    if (stream === undefined) throw new TtrpcError(Code.NOT_FOUND, `stream ${JSON.stringify(id)}: not found`);
    return stream;
  }
}
