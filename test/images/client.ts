// The command line's client, where a test calls a method by its definition, and under a lease: also as no well-behaved client does.
import { WriteAction } from "../../src/api/generated/content.ts";
import { type ContentWrite, DaemonClient } from "../../src/cli/containers/daemon-client.ts";
import type {
  MethodDefinition,
  RequestOf,
  ResponseOf,
  ServiceDefinition,
} from "../../src/ttrpc/definition.ts";
import { patience } from "../harness/eventually.ts";

const TIMEOUT_MS = patience(120_000);

type Methods = Record<string, (request: unknown) => unknown>;

export class ImagesClient {
  readonly daemon: DaemonClient;

  private constructor(daemon: DaemonClient) {
    this.daemon = daemon;
  }

  static async connect(address: string, namespace: string): Promise<ImagesClient> {
    return new ImagesClient(await DaemonClient.connect(address, namespace, TIMEOUT_MS));
  }

  close(): void {
    this.daemon.close();
  }

  /** A call with one request and one answer. Rejects with grpc-js' error. */
  call<M extends MethodDefinition>(
    service: ServiceDefinition,
    method: M,
    request: RequestOf<M>,
    lease?: string,
  ): Promise<ResponseOf<M>> {
    return this.#method(service, method, lease)(request) as Promise<ResponseOf<M>>;
  }

  /** All messages that come in answer to one request. */
  async list<M extends MethodDefinition>(
    service: ServiceDefinition,
    method: M,
    request: RequestOf<M>,
  ): Promise<ResponseOf<M>[]> {
    const found: ResponseOf<M>[] = [];
    const messages = this.#method(service, method, undefined)(request) as AsyncIterable<ResponseOf<M>>;
    for await (const message of messages) found.push(message);
    return found;
  }

  /** A Write stream: each message is answered before the next one goes. */
  write(lease?: string): ContentWrite {
    return this.#under(lease).writeContent();
  }

  /** Writes a whole blob under `ref`, in one message. */
  async put(
    ref: string,
    data: Uint8Array,
    { lease, labels = {} }: { lease?: string; labels?: Record<string, string> } = {},
  ): Promise<string> {
    const call = this.write(lease);
    try {
      return (await call.send({ action: WriteAction.COMMIT, ref, data, labels })).digest;
    } finally {
      call.end();
    }
  }

  #under(lease: string | undefined): DaemonClient {
    return lease === undefined ? this.daemon : this.daemon.underLease(lease);
  }

  #method(
    service: ServiceDefinition,
    method: MethodDefinition,
    lease: string | undefined,
  ): (request: unknown) => unknown {
    const found = Object.entries(service.methods).find(([, each]) => each === method);
    const methods = this.#under(lease).service(service) as unknown as Methods;
    const call = methods[found?.[0] ?? ""];
    if (call === undefined) throw new Error(`${service.fullName} has no ${method.name}`);
    return call;
  }
}
