// The shapes of a service: what ts-proto's "generic-definitions" give, and the types of an implementation and of a client that follow from them.

import type { PeerCredentials } from "../platform/platform.ts";
import type { CancelSignal } from "./cancel.ts";
import type { MessageCodec, Metadata } from "./codec.ts";

export interface MethodDefinition<Req = unknown, Res = unknown> {
  readonly name: string;
  readonly requestType: MessageCodec<Req>;
  readonly requestStream: boolean;
  readonly responseType: MessageCodec<Res>;
  readonly responseStream: boolean;
}

export interface ServiceDefinition {
  readonly fullName: string;
  readonly methods: Readonly<Record<string, MethodDefinition>>;
}

export type RequestOf<M> = M extends { readonly requestType: MessageCodec<infer T> } ? T : never;
export type ResponseOf<M> = M extends { readonly responseType: MessageCodec<infer T> } ? T : never;

/** One call on a server, as shown to observers. */
export interface CallInfo {
  /** The full name under which the service was called. */
  readonly service: string;
  readonly method: string;
  readonly peer: PeerCredentials | undefined;
  /** On Clock.monotonicMs. */
  readonly startedMs: number;
}

/** What a handler is told beside its request. It is cancelled by the deadline, by the end of the connection, and by a breach of the protocol. */
export interface CallContext extends CallInfo, CancelSignal {
  readonly metadata: Metadata;
  /** On Clock.monotonicMs. */
  readonly deadlineMs: number | undefined;
  /** Whether an earlier process had begun to answer it, and may have done what it asks for. */
  readonly isResumed: boolean;
}

type Input<M> = M extends { readonly requestStream: true }
  ? AsyncIterableIterator<RequestOf<M>>
  : RequestOf<M>;

export type Handler<M> = (
  request: Input<M>,
  context: CallContext,
) => M extends { readonly responseStream: true }
  ? AsyncIterable<ResponseOf<M>>
  : ResponseOf<M> | Promise<ResponseOf<M>>;

/** An object or class that serves D. Handlers are called as methods of it. */
export type ServiceImplementation<D extends ServiceDefinition> = {
  readonly [K in keyof D["methods"]]: Handler<D["methods"][K]>;
};

export interface CallOptions {
  /** Milliseconds until the call fails with DEADLINE_EXCEEDED; also told to the server. */
  readonly timeoutMs?: number | undefined;
  readonly metadata?: Metadata | undefined;
  /** Makes the call fail with CANCELLED. The server is not told: the protocol has no word for it. */
  readonly signal?: CancelSignal | undefined;
}

export type ClientMethod<M> = (
  request: M extends { readonly requestStream: true } ? AsyncIterable<RequestOf<M>> : RequestOf<M>,
  options?: CallOptions,
) => M extends { readonly responseStream: true }
  ? AsyncIterableIterator<ResponseOf<M>>
  : Promise<ResponseOf<M>>;

export type ServiceClient<D extends ServiceDefinition> = {
  readonly [K in keyof D["methods"]]: ClientMethod<D["methods"][K]>;
};
