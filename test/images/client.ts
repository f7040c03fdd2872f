// A client of the image services that can do what no well-behaved one does: half writes, wrong offsets, leases.
import { Client, credentials, type Deadline, Metadata, type ServiceError } from "@grpc/grpc-js";
import {
  ContentDefinition,
  WriteAction,
  type WriteContentRequest,
  type WriteContentResponse,
} from "../../src/api/generated/content.ts";
import type { MethodDefinition, RequestOf, ResponseOf } from "../../src/ttrpc/definition.ts";

const DEADLINE_MS = 30_000;

export class ImagesClient {
  readonly #client: Client;
  readonly #namespace: string;

  constructor(address: string, namespace: string) {
    this.#client = new Client(`unix://${address}`, credentials.createInsecure());
    this.#namespace = namespace;
  }

  close(): void {
    this.#client.close();
  }

  /** A call with one request and one answer. Rejects with grpc-js' error. */
  call<M extends MethodDefinition>(
    service: { readonly fullName: string },
    method: M,
    request: RequestOf<M>,
    lease?: string,
  ): Promise<ResponseOf<M>> {
    return new Promise((resolve, reject) => {
      const done = (error: ServiceError | null, answer?: ResponseOf<M>): void =>
        error === null && answer !== undefined ? resolve(answer) : reject(error);
      this.#client.makeUnaryRequest(
        `/${service.fullName}/${method.name}`,
        encoder(method),
        decoder(method) as (bytes: Buffer) => ResponseOf<M>,
        request,
        this.#metadata(lease),
        { deadline: deadline() },
        done,
      );
    });
  }

  /** All messages that come in answer to one request. */
  async list<M extends MethodDefinition>(
    service: { readonly fullName: string },
    method: M,
    request: RequestOf<M>,
  ): Promise<ResponseOf<M>[]> {
    const path = `/${service.fullName}/${method.name}`;
    const stream = this.#client.makeServerStreamRequest(
      path,
      encoder(method),
      decoder(method),
      request,
      this.#metadata(),
      { deadline: deadline() },
    );
    const found: ResponseOf<M>[] = [];
    for await (const message of stream) found.push(message as ResponseOf<M>);
    return found;
  }

  /** A Write stream: each message is answered before the next one goes. */
  write(lease?: string): WriteCall {
    const { write } = ContentDefinition.methods;
    return new WriteCall(
      this.#client.makeBidiStreamRequest(
        `/${ContentDefinition.fullName}/Write`,
        encoder(write),
        decoder(write),
        this.#metadata(lease),
        { deadline: deadline() },
      ),
    );
  }

  /** Writes a whole blob under `ref`, in one message. */
  async put(
    ref: string,
    data: Uint8Array,
    options: { lease?: string; labels?: Record<string, string> } = {},
  ): Promise<string> {
    const call = this.write(options.lease);
    try {
      const { digest } = await call.send({
        action: WriteAction.COMMIT,
        ref,
        data,
        labels: options.labels ?? {},
      });
      return digest;
    } finally {
      call.end();
    }
  }

  #metadata(lease?: string): Metadata {
    const metadata = new Metadata();
    metadata.set("containerd-namespace", this.#namespace);
    if (lease !== undefined) metadata.set("containerd-lease", lease);
    return metadata;
  }
}

type Duplex = ReturnType<Client["makeBidiStreamRequest"]>;

export class WriteCall {
  readonly #stream: Duplex;
  readonly #answers: AsyncIterator<WriteContentResponse>;

  constructor(stream: Duplex) {
    this.#stream = stream;
    this.#answers = stream[Symbol.asyncIterator]() as AsyncIterator<WriteContentResponse>;
  }

  /** Rejects with grpc-js' error. */
  async send(message: Partial<WriteContentRequest>): Promise<WriteContentResponse> {
    const nothing = new Uint8Array(0);
    const request = { ref: "", total: 0n, expected: "", offset: 0n, data: nothing, labels: {} };
    this.#stream.write({ action: WriteAction.STAT, ...request, ...message });
    const { value, done } = await this.#answers.next();
    if (done === true) throw new Error("the stream has ended");
    return value;
  }

  end(): void {
    this.#stream.cancel();
  }
}

function deadline(): Deadline {
  return Date.now() + DEADLINE_MS;
}

function encoder(method: MethodDefinition): (message: unknown) => Buffer {
  return (message) => Buffer.from(method.requestType.encode(message).finish());
}

function decoder(method: MethodDefinition): (bytes: Buffer) => unknown {
  return (bytes) => method.responseType.decode(new Uint8Array(bytes));
}
