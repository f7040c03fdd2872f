// The daemon's gRPC API as a client sees it: holdfastd's and containerd's alike.
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
import { isSystemError } from "../../platform/platform.ts";
import type { MethodDefinition, ServiceClient, ServiceDefinition } from "../../ttrpc/definition.ts";
import type { Call } from "../grpc/call.ts";
import { GrpcClient } from "../grpc/client.ts";
import type { Header } from "../grpc/headers.ts";
import { Problem, systemText } from "../text/problem.ts";

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
  readonly #client: GrpcClient;
  readonly #timeoutMs: number;
  /** What every call carries beside its namespace. */
  readonly #headers: Readonly<Record<string, string>>;

  private constructor(
    client: GrpcClient,
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
    // holdfastd remembers who has had a container killed.
    const client = await connected(address, `holdfast/${VERSION} (pid ${process.pid})`);
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
    return new ContentWrite(this.bidi(ContentDefinition, ContentDefinition.methods.write));
  }

  /** A call of a method whose requests and answers are both streams. */
  bidi(service: ServiceDefinition, method: MethodDefinition): BidiStream {
    return new BidiStream(
      this.#client.begin(`/${service.fullName}/${method.name}`, this.#metadata()),
      method,
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

  async #call(
    path: string,
    { requestType, responseType }: MethodDefinition,
    request: unknown,
    timeoutMs: number | undefined,
  ): Promise<unknown> {
    const message = requestType.encode(request).finish();
    return responseType.decode(await this.#client.unary(path, this.#metadata(), message, timeoutMs));
  }

  async *#stream(
    path: string,
    { requestType, responseType }: MethodDefinition,
    request: unknown,
  ): AsyncIterableIterator<unknown> {
    const call = this.#client.begin(path, this.#metadata());
    call.send(requestType.encode(request).finish());
    call.end();
    try {
      for (let next = await call.next(); next !== undefined; next = await call.next()) {
        yield responseType.decode(next);
      }
    } finally {
      call.cancel();
    }
  }

  #metadata(): Header[] {
    return [["containerd-namespace", this.namespace], ...Object.entries(this.#headers)];
  }
}

/** What a message of Write says if nothing else is said. */
export const NOTHING_TO_WRITE: WriteContentRequest = {
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
  readonly #call: Call;
  readonly #method: MethodDefinition;

  constructor(call: Call, method: MethodDefinition) {
    this.#call = call;
    this.#method = method;
  }

  write(message: unknown): void {
    this.#call.send(this.#method.requestType.encode(message).finish());
  }

  /** The next message of the other side; undefined at the end. Rejects with the call's error. */
  async next(): Promise<unknown> {
    const message = await this.#call.next();
    return message === undefined ? undefined : this.#method.responseType.decode(message);
  }

  /** Nothing more is going to be written. */
  close(): void {
    this.#call.end();
  }

  cancel(): void {
    this.#call.cancel();
  }
}

/** A stream of Content.Write. */
export class ContentWrite {
  readonly #stream: BidiStream;
  #isCommitted = false;

  constructor(stream: BidiStream) {
    this.#stream = stream;
  }

  /** Rejects with the call's error. */
  async send(message: Partial<WriteContentRequest>): Promise<WriteContentResponse> {
    this.#stream.write({ ...NOTHING_TO_WRITE, ...message });
    const answer = await this.#stream.next();
    if (answer === undefined) throw new Error("the daemon has ended the write");
    if (message.action === WriteAction.COMMIT) this.#isCommitted = true;
    return answer as WriteContentResponse;
  }

  /** Gives the write up, if it has not been committed. A server takes a client that resets its streams all the time for an attacker, and hangs up. */
  end(): void {
    if (!this.#isCommitted) {
      this.#stream.cancel();
      return;
    }
    this.#stream.close();
    void this.#stream.next().catch(() => {});
  }
}

async function connected(address: string, userAgent: string): Promise<GrpcClient> {
  try {
    return await GrpcClient.connect(address, userAgent);
  } catch (error) {
    const daemon = address.includes("containerd") ? "containerd" : "holdfastd";
    const hint = isSystemError(error, "EACCES") ? "are you root?" : `is ${daemon} running?`;
    throw new Problem(`cannot connect to ${address}: ${systemText(error)}: ${hint}`, undefined, {
      cause: error,
    });
  }
}
