// The daemon's gRPC API as a client sees it: holdfastd's and containerd's alike.
import { type CallOptions, Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { ContainersDefinition } from "../../api/generated/containers.ts";
import {
  ContentDefinition,
  WriteAction,
  type WriteContentRequest,
  type WriteContentResponse,
} from "../../api/generated/content.ts";
import { DiffDefinition } from "../../api/generated/diff.ts";
import { EventsDefinition } from "../../api/generated/events.ts";
import { HistoryDefinition } from "../../api/generated/history.ts";
import { ImagesDefinition } from "../../api/generated/images.ts";
import { IntrospectionDefinition } from "../../api/generated/introspection.ts";
import { LeasesDefinition } from "../../api/generated/leases.ts";
import { NamespacesDefinition } from "../../api/generated/namespaces.ts";
import { SnapshotsDefinition } from "../../api/generated/snapshots.ts";
import { TasksDefinition } from "../../api/generated/tasks.ts";
import { TransferDefinition } from "../../api/generated/transfer.ts";
import { VersionDefinition } from "../../api/generated/version.ts";
import { VERSION } from "../../api/version.ts";
import { nodeNet } from "../../platform/node.ts";
import { isSystemError } from "../../platform/platform.ts";
import type { MethodDefinition, ServiceClient, ServiceDefinition } from "../../ttrpc/definition.ts";
import { Problem, systemText } from "../text/problem.ts";

/** What containerd takes; our specs and lists are far smaller. */
const MAX_MESSAGE = 16 * 1024 * 1024;

const LEASE_HEADER = "containerd-lease";

/** Calls that take as long as a runtime, a disk or a container does. */
const UNBOUNDED: readonly string[] = [
  ...["Create", "Start", "Delete", "DeleteProcess", "Exec", "Pause", "Resume", "Update", "Wait"].map(
    (method) => `/${TasksDefinition.fullName}/${method}`,
  ),
  `/${HistoryDefinition.fullName}/Wait`,
  ...["Apply", "Diff"].map((method) => `/${DiffDefinition.fullName}/${method}`),
  `/${ImagesDefinition.fullName}/Delete`,
  `/${TransferDefinition.fullName}/Transfer`,
  `/${LeasesDefinition.fullName}/Delete`,
  ...["Prepare", "Commit", "Remove"].map((method) => `/${SnapshotsDefinition.fullName}/${method}`),
];

export class DaemonClient {
  readonly namespace: string;
  readonly containers: ServiceClient<ContainersDefinition>;
  readonly tasks: ServiceClient<TasksDefinition>;
  readonly events: ServiceClient<EventsDefinition>;
  readonly namespaces: ServiceClient<NamespacesDefinition>;
  readonly version: ServiceClient<VersionDefinition>;
  readonly images: ServiceClient<ImagesDefinition>;
  readonly content: ServiceClient<ContentDefinition>;
  readonly snapshots: ServiceClient<SnapshotsDefinition>;
  readonly diff: ServiceClient<DiffDefinition>;
  readonly introspection: ServiceClient<IntrospectionDefinition>;
  readonly leases: ServiceClient<LeasesDefinition>;
  /** Only holdfastd has it. */
  readonly history: ServiceClient<HistoryDefinition>;
  readonly #client: Client;
  readonly #timeoutMs: number;
  /** What every call carries beside its namespace. */
  readonly #headers: Readonly<Record<string, string>>;

  private constructor(
    client: Client,
    namespace: string,
    timeoutMs: number,
    headers: Record<string, string> = {},
  ) {
    this.#client = client;
    this.#headers = headers;
    this.#timeoutMs = timeoutMs;
    this.namespace = namespace;
    this.containers = this.service(ContainersDefinition);
    this.tasks = this.service(TasksDefinition);
    this.events = this.service(EventsDefinition);
    this.namespaces = this.service(NamespacesDefinition);
    this.version = this.service(VersionDefinition);
    this.images = this.service(ImagesDefinition);
    this.content = this.service(ContentDefinition);
    this.snapshots = this.service(SnapshotsDefinition);
    this.diff = this.service(DiffDefinition);
    this.introspection = this.service(IntrospectionDefinition);
    this.leases = this.service(LeasesDefinition);
    this.history = this.service(HistoryDefinition);
  }

  /** `timeoutMs` bounds what should be answered at once. Throws a Problem that names the socket if nobody listens there. */
  static async connect(address: string, namespace: string, timeoutMs: number): Promise<DaemonClient> {
    await demandListener(address);
    const client = new Client(`unix://${address}`, credentials.createInsecure(), {
      "grpc.max_receive_message_length": MAX_MESSAGE,
      "grpc.max_send_message_length": MAX_MESSAGE,
      // holdfastd remembers who has had a container killed.
      "grpc.primary_user_agent": `holdfast/${VERSION} (pid ${process.pid})`,
      // A daemon that restarts is back at once.
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 1000,
    });
    return new DaemonClient(client, namespace, timeoutMs);
  }

  /** The same connection, for another namespace. */
  inNamespace(namespace: string): DaemonClient {
    return new DaemonClient(this.#client, namespace, this.#timeoutMs, this.#headers);
  }

  /** The same connection, whose calls say what they are for: holdfastd remembers a container killed for "delete" as deleted by force. */
  forReason(reason: "delete"): DaemonClient {
    return this.#with({ "holdfast-reason": reason });
  }

  /** The same connection, whose calls put what they make on a lease. */
  underLease(lease: string): DaemonClient {
    return this.#with({ [LEASE_HEADER]: lease });
  }

  #with(headers: Record<string, string>): DaemonClient {
    return new DaemonClient(this.#client, this.namespace, this.#timeoutMs, { ...this.#headers, ...headers });
  }

  /** The one that what we make is put on; undefined for none. */
  get lease(): string | undefined {
    return this.#headers[LEASE_HEADER];
  }

  /** A write of content: each message is answered before the next one goes. */
  writeContent(): ContentWrite {
    const { write } = ContentDefinition.methods;
    const path = `/${ContentDefinition.fullName}/${write.name}`;
    return new ContentWrite(
      this.#client.makeBidiStreamRequest(path, encoder(write), decoder(write), this.#metadata()),
    );
  }

  /** A call of a method whose requests and answers are both streams. */
  bidi(service: ServiceDefinition, method: MethodDefinition): BidiStream {
    const path = `/${service.fullName}/${method.name}`;
    return new BidiStream(
      this.#client.makeBidiStreamRequest(path, encoder(method), decoder(method), this.#metadata()),
    );
  }

  service<D extends ServiceDefinition>(definition: D): ServiceClient<D> {
    const methods: Record<string, unknown> = {};
    for (const [key, method] of Object.entries(definition.methods)) {
      const path = `/${definition.fullName}/${method.name}`;
      const timeoutMs = UNBOUNDED.includes(path) ? undefined : this.#timeoutMs;
      methods[key] = (request: unknown) =>
        method.responseStream
          ? this.#stream(path, method, request)
          : this.#call(path, method, request, timeoutMs);
    }
    return methods as ServiceClient<D>;
  }

  close(): void {
    this.#client.close();
  }

  #call(
    path: string,
    method: MethodDefinition,
    request: unknown,
    timeoutMs: number | undefined,
  ): Promise<unknown> {
    const options: CallOptions = timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
    return new Promise((resolve, reject) => {
      const done = (error: ServiceError | null, answer?: unknown): void => {
        if (error !== null) reject(error);
        else resolve(answer);
      };
      this.#client.makeUnaryRequest(
        path,
        encoder(method),
        decoder(method),
        request,
        this.#metadata(),
        options,
        done,
      );
    });
  }

  async *#stream(path: string, method: MethodDefinition, request: unknown): AsyncIterableIterator<unknown> {
    const call = this.#client.makeServerStreamRequest(
      path,
      encoder(method),
      decoder(method),
      request,
      this.#metadata(),
    );
    try {
      for await (const message of call) yield message;
    } finally {
      call.cancel();
    }
  }

  #metadata(): Metadata {
    const metadata = new Metadata();
    metadata.set("containerd-namespace", this.namespace);
    for (const [name, value] of Object.entries(this.#headers)) metadata.set(name, value);
    return metadata;
  }
}

const NOTHING_TO_WRITE: WriteContentRequest = {
  action: WriteAction.STAT,
  ref: "",
  total: 0n,
  expected: "",
  offset: 0n,
  data: new Uint8Array(0),
  labels: {},
};
/** Messages both ways, as the two sides please. */
export class BidiStream {
  readonly #stream: ReturnType<Client["makeBidiStreamRequest"]>;
  readonly #answers: AsyncIterator<unknown>;

  constructor(stream: ReturnType<Client["makeBidiStreamRequest"]>) {
    this.#stream = stream;
    this.#answers = stream[Symbol.asyncIterator]();
  }

  write(message: unknown): void {
    this.#stream.write(message);
  }

  /** The next message of the other side; undefined at the end. Rejects with the call's error. */
  async next(): Promise<unknown> {
    const { value, done } = await this.#answers.next();
    return done === true ? undefined : value;
  }

  /** Nothing more is going to be written. */
  close(): void {
    this.#stream.end();
  }

  cancel(): void {
    this.#stream.cancel();
  }
}

/** A stream of Content.Write. */
export class ContentWrite {
  readonly #stream: ReturnType<Client["makeBidiStreamRequest"]>;
  readonly #answers: AsyncIterator<WriteContentResponse>;
  #isCommitted = false;

  constructor(stream: ReturnType<Client["makeBidiStreamRequest"]>) {
    this.#stream = stream;
    this.#answers = stream[Symbol.asyncIterator]() as AsyncIterator<WriteContentResponse>;
  }

  /** Rejects with the call's error. */
  async send(message: Partial<WriteContentRequest>): Promise<WriteContentResponse> {
    this.#stream.write({ ...NOTHING_TO_WRITE, ...message });
    const { value, done } = await this.#answers.next();
    if (done === true) throw new Error("the daemon has ended the write");
    if (message.action === WriteAction.COMMIT) this.#isCommitted = true;
    return value;
  }

  /** Gives the write up, if it has not been committed. A server takes a client that resets its streams all the time for an attacker, and hangs up. */
  end(): void {
    if (!this.#isCommitted) {
      this.#stream.cancel();
      return;
    }
    this.#stream.end();
    void this.#answers.next().catch(() => {});
  }
}

function encoder(method: MethodDefinition): (message: unknown) => Buffer {
  return (message) => Buffer.from(method.requestType.encode(message).finish());
}

function decoder(method: MethodDefinition): (bytes: Buffer) => unknown {
  return (bytes) => method.responseType.decode(new Uint8Array(bytes));
}

async function demandListener(address: string): Promise<void> {
  try {
    const stream = await nodeNet.connect(address);
    stream.close();
  } catch (error) {
    const daemon = address.includes("containerd") ? "containerd" : "holdfastd";
    const hint = isSystemError(error, "EACCES") ? "are you root?" : `is ${daemon} running?`;
    throw new Problem(`cannot connect to ${address}: ${systemText(error)}: ${hint}`, undefined, {
      cause: error,
    });
  }
}
