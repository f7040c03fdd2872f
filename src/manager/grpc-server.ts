// Our services behind grpc-js: turns handlers of decoded messages into its kind, and what they throw into a status. daemon.ts makes one.

import { chmod, mkdtemp, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  type ServiceDefinition as GrpcService,
  type handleBidiStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { CancelSignal } from "../ttrpc/cancel.ts";
import { Cancellation } from "../ttrpc/cancel.ts";
import type { MethodDefinition, RequestOf, ResponseOf, ServiceDefinition } from "../ttrpc/definition.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { failpoint } from "./failpoint.ts";
import { validateIdentifier } from "./identifiers.ts";

const NAMESPACE_HEADER = "containerd-namespace";
const LEASE_HEADER = "containerd-lease";
/** containerd's bound, in both directions. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/** What a handler is told beside its request. */
export interface Call {
  /** The caller's namespace. Throws FAILED_PRECONDITION if it gave none, and INVALID_ARGUMENT for a bad one. */
  readonly namespace: string;
  /** The lease that keeps what this call makes; undefined if there is none. */
  readonly lease: string | undefined;
  /** Cancelled when nobody waits for the answer any more. */
  readonly signal: CancelSignal;
}

type Input<M> = M extends { readonly requestStream: true } ? AsyncIterable<RequestOf<M>> : RequestOf<M>;

type Handler<M> = (
  request: Input<M>,
  call: Call,
) => M extends { readonly responseStream: true }
  ? AsyncIterable<ResponseOf<M>>
  : ResponseOf<M> | Promise<ResponseOf<M>>;

export type Handlers<D extends ServiceDefinition> = {
  readonly [K in keyof D["methods"]]?: Handler<D["methods"][K]>;
};

/** A call that has been answered. */
export interface FinishedCall {
  readonly service: string;
  readonly method: string;
  /** "" if the caller gave none, or a bad one. */
  readonly namespace: string;
  readonly request: unknown;
  readonly startedAt: number;
  /** In ms. */
  readonly took: number;
  readonly error: TtrpcError | undefined;
}

/** Of a method whose requests are a stream too, the call is that stream. */
type AnyStream = ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>;
type AnyHandler = (request: unknown, call: Call) => unknown;
type StreamHandler = (request: unknown, call: Call) => AsyncIterable<unknown>;

export class GrpcServer {
  readonly #server = new Server({
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  });
  readonly #finished: (call: FinishedCall) => void;
  /** Of all running calls. */
  readonly #cancellations = new Map<Cancellation, "short" | "long">();
  #draining = false;

  constructor(finished: (call: FinishedCall) => void) {
    this.#finished = finished;
  }

  /** Serves those methods of `definition` that have a handler; the rest is UNIMPLEMENTED. */
  register<D extends ServiceDefinition>(definition: D, handlers: Handlers<D>): void {
    const service: Record<string, GrpcService[string]> = {};
    const implementation: UntypedServiceImplementation = {};
    for (const [key, method] of Object.entries(definition.methods)) {
      const handler = (handlers as Record<string, AnyHandler | undefined>)[key]?.bind(handlers);
      if (handler === undefined) continue;
      service[method.name] = grpcMethod(definition.fullName, method);
      implementation[method.name] = method.responseStream
        ? this.#streamHandler(definition.fullName, method.name, handler)
        : this.#unaryHandler(definition.fullName, method.name, handler);
    }
    this.#server.addService(service, implementation);
  }

  #unaryHandler(service: string, method: string, handle: AnyHandler): handleUnaryCall<unknown, unknown> {
    return (call, callback) => {
      this.#unary(service, method, handle, call).then(
        (answer) => callback(null, answer),
        (error: unknown) => callback(statusOf(error)),
      );
    };
  }

  #streamHandler(
    service: string,
    method: string,
    handle: AnyHandler,
  ): handleServerStreamingCall<unknown, unknown> & handleBidiStreamingCall<unknown, unknown> {
    return (call: AnyStream) => void this.#stream(service, method, handle as StreamHandler, call);
  }

  /** Serves a unix socket at `path`, for its owner alone. It is made in a directory that nobody else can enter, so it is never open to others. */
  async listen(path: string): Promise<void> {
    const directory = await mkdtemp(join(dirname(path), ".bind-"));
    const socket = join(directory, "sock");
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
          error === null ? resolve() : reject(error),
        );
      });
      await chmod(socket, 0o600);
      await rename(socket, path);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  /** Takes no new calls; ends those that wait for something to happen, lets the others end for up to `timeoutMs`, and closes the connections. */
  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true;
    const closed = new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    for (const [cancellation, kind] of [...this.#cancellations]) if (kind === "long") cancellation.cancel();
    const timer = setTimeout(() => this.#server.forceShutdown(), timeoutMs);
    await closed;
    clearTimeout(timer);
  }

  async #unary(
    service: string,
    method: string,
    handle: AnyHandler,
    call: ServerUnaryCall<unknown, unknown>,
  ): Promise<unknown> {
    const cancellation = new Cancellation();
    call.once("cancelled", () => cancellation.cancel());
    this.#cancellations.set(cancellation, method === "Wait" ? "long" : "short");
    const startedAt = Date.now();
    const start = performance.now();
    const context = contextOf(call.metadata, cancellation);
    const finished = (error: TtrpcError | undefined): void =>
      this.#finished({
        service,
        method,
        namespace: namespaceOf(call.metadata) ?? "",
        request: call.request,
        startedAt,
        took: performance.now() - start,
        error,
      });
    failpoint(`${service}/${method}:request`);
    try {
      if (this.#draining) throw shuttingDown();
      const answer = await handle(call.request, context);
      failpoint(`${service}/${method}:response`);
      finished(undefined);
      return answer;
    } catch (error) {
      const failure = this.#draining && cancellation.cancelled ? shuttingDown() : TtrpcError.from(error);
      finished(failure);
      throw failure;
    } finally {
      this.#cancellations.delete(cancellation);
    }
  }

  async #stream(service: string, method: string, handle: StreamHandler, call: AnyStream): Promise<void> {
    // A handler that stops reading must still be able to answer: the stream is not destroyed by it.
    const request = "request" in call ? call.request : call.iterator({ destroyOnReturn: false });
    const cancellation = new Cancellation();
    const startedAt = Date.now();
    const start = performance.now();
    let error: TtrpcError | undefined;
    this.#cancellations.set(cancellation, "long");
    try {
      const messages = handle(request, contextOf(call.metadata, cancellation))[Symbol.asyncIterator]();
      call.once("cancelled", () => cancellation.cancel());
      cancellation.onCancel(() => void messages.return?.());
      // A subscriber knows by this that nothing is missed from here on.
      call.sendMetadata(new Metadata());
      for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
        if (!call.write(next.value)) await drained(call, cancellation);
      }
      if (this.#draining) throw shuttingDown();
      call.end();
    } catch (thrown) {
      error = TtrpcError.from(thrown);
      call.emit("error", statusOf(error));
    }
    this.#cancellations.delete(cancellation);
    this.#finished({
      service,
      method,
      namespace: namespaceOf(call.metadata) ?? "",
      request,
      startedAt,
      took: performance.now() - start,
      error,
    });
  }
}

function grpcMethod(
  service: string,
  { name, requestType, requestStream, responseType, responseStream }: MethodDefinition,
): GrpcService[string] {
  return {
    path: `/${service}/${name}`,
    requestStream,
    responseStream,
    requestDeserialize: (bytes) => requestType.decode(plainBytes(bytes)),
    responseSerialize: (message) => Buffer.from(responseType.encode(message).finish()),
    // Only a client's side needs these.
    requestSerialize: (message) => Buffer.from(requestType.encode(message).finish()),
    responseDeserialize: (bytes) => responseType.decode(plainBytes(bytes)),
  };
}

/** Generated code wants a Uint8Array whose slices are copies. */
function plainBytes(bytes: Buffer): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

function namespaceOf(metadata: Metadata): string | undefined {
  return header(metadata, NAMESPACE_HEADER);
}

function header(metadata: Metadata, name: string): string | undefined {
  const [value] = metadata.get(name);
  return typeof value === "string" && value !== "" ? value : undefined;
}

function contextOf(metadata: Metadata, signal: CancelSignal): Call {
  return {
    get namespace() {
      const namespace = namespaceOf(metadata);
      if (namespace === undefined)
        throw new TtrpcError(Code.FAILED_PRECONDITION, "namespace is required: failed precondition");
      validateIdentifier("namespace validation", namespace);
      return namespace;
    },
    lease: header(metadata, LEASE_HEADER),
    signal,
  };
}

/** `answer`, unless the caller goes away first, or we end. */
export function until<T>(call: Call, answer: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const off = call.signal.onCancel(() => reject(new TtrpcError(Code.CANCELLED, "the caller has gone")));
    answer.then(resolve, reject).finally(off);
  });
}

function shuttingDown(): TtrpcError {
  return new TtrpcError(Code.UNAVAILABLE, "holdfastd is shutting down");
}

function statusOf(error: unknown): { code: number; details: string } {
  const { code, rawMessage } = TtrpcError.from(error);
  return { code, details: rawMessage };
}

function drained(call: AnyStream, signal: CancelSignal): Promise<void> {
  return new Promise((resolve) => {
    call.once("drain", resolve);
    signal.onCancel(() => resolve());
  });
}
