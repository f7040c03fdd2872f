// Our services behind grpc-js: turns handlers of decoded messages into its kind, and what they throw into a status. daemon.ts makes one.

import type { EventEmitter } from "node:events";
import { chmod, mkdtemp, rename, rm } from "node:fs/promises";
import type { Http2Server, IncomingHttpHeaders, ServerHttp2Session } from "node:http2";
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
import { failpoint } from "../../platform/failpoint.ts";
import type { CancelSignal } from "../../ttrpc/cancel.ts";
import { Cancellation } from "../../ttrpc/cancel.ts";
import type { MethodDefinition, RequestOf, ResponseOf, ServiceDefinition } from "../../ttrpc/definition.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { validateIdentifier } from "./identifiers.ts";

const NAMESPACE_HEADER = "containerd-namespace";
const CLIENT_HEADER = "user-agent";
const REASON_HEADER = "holdfast-reason";
const MAX_SHOWN_HEADER = 100;
const LEASE_HEADER = "containerd-lease";
const TIMEOUT_HEADER = "grpc-timeout";
/** What a unit of that header is in ms. */
const TIMEOUT_UNITS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};
const MAX_TIMER_MS = 2 ** 31 - 1;
/** containerd's bound, in both directions. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** What a client may send of one call before its handler reads, and of all calls before they have arrived. */
const STREAM_WINDOW_BYTES = 256 * 1024;
const CONNECTION_WINDOW_BYTES = 1024 * 1024;
/** Calls that take as long as a container, or a registry, does: they end when we do. */
const LONG: readonly string[] = ["Wait", "Transfer"];

/** What a handler gets beside its request. */
export interface Call {
  /** The caller's namespace. Throws FAILED_PRECONDITION if it gave none, and INVALID_ARGUMENT for a bad one. */
  readonly namespace: string;
  /** What the caller says it is: its user agent. */
  readonly client: string;
  /** What the call is for, if the caller says so in the header holdfast-reason: "delete", say. */
  readonly reason: string;
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
  readonly client: string;
  readonly request: unknown;
  readonly startedAt: number;
  /** In ms. */
  readonly took: number;
  readonly error: TtrpcError | undefined;
}

interface RunningCall {
  /** Whether it waits for something to happen, and ends when we do. */
  readonly isLong: boolean;
  readonly method: string;
  readonly namespace: string;
  readonly start: number;
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
  readonly #calls = new Map<Cancellation, RunningCall>();
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

  /** What grpc-js has no options for. */
  #tune(): void {
    const { http2Servers } = this.#server as unknown as { http2Servers: Map<Http2Server, unknown> };
    for (const server of http2Servers.keys()) {
      server.prependListener("session", widenWindows);
      server.prependListener("stream", (_stream, headers) => forgetFarDeadline(headers));
    }
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
      this.#tune();
      await chmod(socket, 0o600);
      await rename(socket, path);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  /** Calls that have not been answered. */
  get underWay(): { readonly method: string; readonly namespace: string; readonly ms: number }[] {
    const now = performance.now();
    return [...this.#calls.values()].map(({ method, namespace, start }) => {
      return { method, namespace, ms: Math.round(now - start) };
    });
  }

  /** Takes no new calls; ends those that wait for something to happen, lets the others end for up to `timeoutMs`, and closes the connections. */
  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true;
    const closed = new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    for (const [cancellation, { isLong }] of [...this.#calls]) if (isLong) cancellation.cancel();
    const timer = setTimeout(() => this.#server.forceShutdown(), timeoutMs);
    await closed;
    clearTimeout(timer);
  }

  #begin(cancellation: Cancellation, isLong: boolean, method: string, metadata: Metadata): void {
    const namespace = namespaceOf(metadata) ?? "";
    this.#calls.set(cancellation, { isLong, method, namespace, start: performance.now() });
  }

  async #unary(
    service: string,
    method: string,
    handle: AnyHandler,
    call: ServerUnaryCall<unknown, unknown>,
  ): Promise<unknown> {
    const cancellation = new Cancellation();
    call.once("cancelled", () => cancellation.cancel());
    const startedAt = Date.now();
    const start = performance.now();
    this.#begin(cancellation, LONG.includes(method), `${service}/${method}`, call.metadata);
    const context = contextOf(call.metadata, cancellation);
    const finished = (error: TtrpcError | undefined): void =>
      this.#finished({
        service,
        method,
        namespace: namespaceOf(call.metadata) ?? "",
        client: context.client,
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
      this.#calls.delete(cancellation);
    }
  }

  async #stream(service: string, method: string, handle: StreamHandler, call: AnyStream): Promise<void> {
    // A handler that stops reading must still be able to answer: the stream is not destroyed by it.
    const request = "request" in call ? call.request : call.iterator({ destroyOnReturn: false });
    const cancellation = new Cancellation();
    const startedAt = Date.now();
    const start = performance.now();
    let error: TtrpcError | undefined;
    this.#begin(cancellation, true, `${service}/${method}`, call.metadata);
    failpoint(`${service}/${method}:request`);
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
      failpoint(`${service}/${method}:response`);
      call.end();
    } catch (thrown) {
      error = TtrpcError.from(thrown);
      call.emit("error", statusOf(error));
    }
    this.#calls.delete(cancellation);
    this.#finished({
      service,
      method,
      namespace: namespaceOf(call.metadata) ?? "",
      client: shownHeader(call.metadata, CLIENT_HEADER),
      request,
      startedAt,
      took: performance.now() - start,
      error,
    });
  }
}

/** Who writes content sends it by the MiB: with HTTP/2's own 64 KiB it waits for us sixteen times in each. */
function widenWindows(session: ServerHttp2Session): void {
  session.settings({ initialWindowSize: STREAM_WINDOW_BYTES });
  session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
}

/** grpc-js counts deadlines in 32 bits of milliseconds, and ends a call at once, or much too early, whose deadline is further away: it has none then. */
function forgetFarDeadline(headers: IncomingHttpHeaders): void {
  const [, number, unit = ""] = /^(\d{1,8})([HMSmun])$/.exec(String(headers[TIMEOUT_HEADER])) ?? [];
  if (Number(number) * (TIMEOUT_UNITS[unit] ?? 0) > MAX_TIMER_MS) delete headers[TIMEOUT_HEADER];
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
    client: shownHeader(metadata, CLIENT_HEADER) || "a client",
    reason: shownHeader(metadata, REASON_HEADER),
    lease: header(metadata, LEASE_HEADER),
    signal,
  };
}

/** What is fit for a record: printable, and short. */
function shownHeader(metadata: Metadata, name: string): string {
  const [value] = metadata.get(name);
  return typeof value === "string" ? value.replace(/[^ -~]/g, "?").slice(0, MAX_SHOWN_HEADER) : "";
}

function shuttingDown(): TtrpcError {
  return new TtrpcError(Code.UNAVAILABLE, "holdfastd is shutting down");
}

function statusOf(error: unknown): { code: number; details: string } {
  const { code, rawMessage } = TtrpcError.from(error);
  return { code, details: rawMessage };
}

/** Resolves when the client has read, or has gone. */
export function drained(call: Pick<EventEmitter, "once" | "off">, signal: CancelSignal): Promise<void> {
  return new Promise((resolve) => {
    // Each takes the other off: a stream that is written to for days waits here often.
    const done = (): void => {
      off();
      call.off("drain", done);
      resolve();
    };
    call.once("drain", done);
    const off = signal.onCancel(() => {
      call.off("drain", done);
      resolve();
    });
  });
}
