// A ttrpc server: services by name, and one ServerConnection for each accepted stream.

import type { ByteStream, Clock } from "../platform/platform.ts";
import { boundedReader } from "./bounded-reader.ts";
import { Channel } from "./channel.ts";
import type { MessageCodec } from "./codec.ts";
import type { CallRecords, ConnectionRecord, KeptConnection } from "./connection-record.ts";
import type {
  CallContext,
  CallInfo,
  MethodDefinition,
  ServiceDefinition,
  ServiceImplementation,
} from "./definition.ts";
import { decodeRequest, type Request } from "./envelope.ts";
import { Flag, type Frame, FrameType, MAX_WHOLE_BYTES, tooLarge } from "./frame.ts";
import { type CallHost, ServerCall } from "./server-call.ts";
import { Code, TtrpcError } from "./status.ts";

const NO_BYTES = new Uint8Array(0);

export interface RegisteredMethod {
  readonly definition: MethodDefinition;
  /** Bound to the implementation. */
  readonly handle: (request: unknown, context: CallContext) => unknown;
  readonly isQuestion: boolean;
}

/** Serves one call that streams, and sets its sink: serverStreaming of server-stream.ts. Kept apart so that a server of unary methods does not carry it. */
export type StreamingSupport = (
  call: ServerCall,
  method: RegisteredMethod,
  payload: Uint8Array | undefined,
  remoteClosed: boolean,
) => void;

export interface ServerOptions {
  readonly streaming?: StreamingSupport;
  /** Told of each call when it ends, answered or not. `error.code` is CANCELLED where the peer went away. */
  finished?(call: CallInfo, durationMs: number, error: TtrpcError | undefined): void;
  /** Told how many connections there are, whenever one came or went. */
  connectionsChanged?(count: number): void;
}

export class TtrpcServer {
  readonly #clock: Clock;
  readonly #options: ServerOptions;
  readonly #services = new Map<string, ReadonlyMap<string, RegisteredMethod>>();
  readonly #connections = new Set<ServerConnection>();
  readonly #records: CallRecords | undefined;
  #stopping = false;
  #suspended = false;
  #settled: (() => void)[] = [];
  #isIgnored: (call: CallInfo) => boolean = () => false;

  /** With `records`, connections and calls survive this process: see connection-record.ts. */
  constructor(clock: Clock, options: ServerOptions = {}, records?: CallRecords) {
    this.#clock = clock;
    this.#options = options;
    this.#records = records;
  }

  /**
   * Serves `implementation` under the definition's full name and under `aliases`, which have the same messages. A method that is
   * left out is UNIMPLEMENTED. `questions` change nothing: one that is answered at once needs no record, for its request is taken from the kernel
   * after the answer was handed over. Throws if a name is taken, or if a method streams and the server cannot.
   */
  register<D extends ServiceDefinition>(
    definition: D,
    implementation: Partial<ServiceImplementation<D>>,
    aliases: readonly string[] = [],
    questions: readonly (keyof D["methods"])[] = [],
  ): void {
    const methods = new Map<string, RegisteredMethod>();
    for (const [key, method] of Object.entries(definition.methods)) {
      // Typed by the signature above; from here on a handler is a function of what its codec decodes.
      const handler = (implementation as Record<string, RegisteredMethod["handle"] | undefined>)[key];
      if (!handler) continue;
      if ((method.requestStream || method.responseStream) && !this.#options.streaming) {
        throw new Error(`${definition.fullName}/${method.name} streams, and this server has no streaming`);
      }
      const isQuestion = questions.includes(key);
      methods.set(method.name, { definition: method, handle: handler.bind(implementation), isQuestion });
    }
    for (const name of [definition.fullName, ...aliases]) {
      if (this.#services.has(name)) throw new Error(`service ${name} is registered twice`);
      this.#services.set(name, methods);
    }
  }

  /** Serves a connection until it ends, from where an earlier process was if it is `kept`. After close() or shutdown() it is closed at once. */
  accept(stream: ByteStream, kept?: KeptConnection): void {
    if (this.#stopping) {
      stream.close();
      return;
    }
    const record = stream.fd === undefined ? undefined : this.#records?.connection(stream.fd);
    const connection: ServerConnection = new ServerConnection(
      stream,
      this.#clock,
      {
        isQuestion: ({ service, method }) => this.#services.get(service)?.get(method)?.isQuestion === true,
        begin: (call, request, flags) => this.#begin(call, request, flags),
        finished: (call, error) =>
          this.#options.finished?.(call, this.#clock.monotonicMs() - call.startedMs, error),
        quiet: () => this.#checkSettled(),
        closed: () => {
          this.#connections.delete(connection);
          this.#options.connectionsChanged?.(this.#connections.size);
        },
      },
      record,
      kept?.lastId,
    );
    this.#connections.add(connection);
    if (this.#suspended) connection.hold();
    this.#options.connectionsChanged?.(this.#connections.size);
    for (const [id, data] of kept?.calls ?? []) connection.resume(id, data);
  }

  /** Takes no more requests: they stay in the kernel for whoever goes on with the connections. */
  suspend(): void {
    this.#suspended = true;
    for (const connection of this.#connections) connection.hold();
  }

  /** Takes requests again. */
  goOn(): void {
    this.#suspended = false;
    for (const connection of this.#connections) connection.release();
  }

  /** The calls that are running now. */
  activeCalls(): CallInfo[] {
    return [...this.#connections].flatMap((connection) => [...connection.calls.values()]);
  }

  /**
   * Takes no more connections or calls; resolves when the running ones are answered and all answers are handed to the kernel. Calls that are
   * `ignored` are not waited for.
   */
  shutdown(ignored: (call: CallInfo) => boolean = () => false): Promise<void> {
    this.#stopping = true;
    this.#isIgnored = ignored;
    return new Promise((resolve) => {
      this.#settled.push(resolve);
      this.#checkSettled();
    });
  }

  /** Closes all connections at once and cancels their calls. */
  close(): void {
    this.#stopping = true;
    for (const connection of [...this.#connections]) connection.close();
  }

  #checkSettled(): void {
    if (this.#settled.length === 0) return;
    for (const connection of this.#connections) if (connection.isBusy(this.#isIgnored)) return;
    for (const resolve of this.#settled.splice(0)) resolve();
  }

  #begin(call: ServerCall, request: Request, flags: number): void {
    const method = this.#find(request);
    const { timeoutMs, payload } = request;
    if (method instanceof TtrpcError) call.fail(method);
    else if (timeoutMs !== undefined && timeoutMs <= 0) call.expire();
    else {
      const { requestStream, responseStream } = method.definition;
      if ((requestStream || responseStream) && this.#options.streaming) {
        call.arm(timeoutMs);
        this.#options.streaming(call, method, payload, (flags & Flag.REMOTE_CLOSED) !== 0);
      } else serveUnary(call, method, payload ?? NO_BYTES, timeoutMs);
    }
  }

  #find({ service, method }: Request): RegisteredMethod | TtrpcError {
    if (this.#stopping) return new TtrpcError(Code.UNAVAILABLE, "server is shutting down");
    const methods = this.#services.get(service);
    if (!methods) return new TtrpcError(Code.UNIMPLEMENTED, `unknown service ${service}`);
    return methods.get(method) ?? new TtrpcError(Code.UNIMPLEMENTED, `unknown method ${service}/${method}`);
  }
}

/** What a handler returns that is no promise is sent before this returns. */
function serveUnary(
  call: ServerCall,
  method: RegisteredMethod,
  payload: Uint8Array,
  timeoutMs: number | undefined,
): void {
  const { responseType } = method.definition;
  try {
    const answer = method.handle(decodePayload(method, payload), call);
    if (answer instanceof Promise) {
      call.arm(timeoutMs);
      void serveLater(call, responseType, answer);
    } else call.reply(responseType, answer);
  } catch (error) {
    call.fail(TtrpcError.from(error));
  }
}

async function serveLater(
  call: ServerCall,
  codec: MessageCodec<unknown>,
  answer: Promise<unknown>,
): Promise<void> {
  try {
    call.reply(codec, await answer);
  } catch (error) {
    call.fail(TtrpcError.from(error));
  }
}

/** The decoded request. Throws INTERNAL if it is malformed, as the Go server does, and RESOURCE_EXHAUSTED if it holds too much. */
export function decodePayload(method: RegisteredMethod, payload: Uint8Array): unknown {
  try {
    return method.definition.requestType.decode(boundedReader(payload));
  } catch (error) {
    if (error instanceof TtrpcError) throw error;
    const reason = TtrpcError.from(error).rawMessage;
    throw new TtrpcError(Code.INTERNAL, `malformed ${method.definition.name} request: ${reason}`, {
      cause: error,
    });
  }
}

interface ConnectionOwner {
  isQuestion(request: Request): boolean;
  begin(call: ServerCall, request: Request, flags: number): void;
  finished(call: ServerCall, error: TtrpcError | undefined): void;
  /** A call ended, or all answers were sent, or the connection is gone. */
  quiet(): void;
  closed(): void;
}

/** One client: its streams, and the rules for their ids. */
class ServerConnection implements CallHost {
  readonly calls = new Map<number, ServerCall>();
  readonly clock: Clock;
  readonly #owner: ConnectionOwner;
  readonly #channel: Channel;
  readonly #record: ConnectionRecord | undefined;
  #lastId = 0;
  /** The last request that was written down: what came after it and has no answer is still with the kernel. */
  #recordedId = 0;
  /** The last request that an earlier process took: it, and some before it, may stand in the kernel still. 0 once a later one has come. */
  #keptId = 0;
  /** Calls whose answers the kernel has not taken. */
  readonly #unsent = new Set<number>();

  constructor(
    stream: ByteStream,
    clock: Clock,
    owner: ConnectionOwner,
    record?: ConnectionRecord,
    lastId = 0,
  ) {
    this.clock = clock;
    this.#owner = owner;
    this.#record = record;
    this.#lastId = lastId;
    this.#keptId = lastId;
    this.#recordedId = lastId;
    record?.put(() => this.#recordedId);
    this.#channel = new Channel(
      stream,
      {
        frame: (frame) => this.#frame(frame),
        drained: () => this.#drained(),
        closed: () => this.#closed(),
        ...(record && { inPieces: (begin: boolean) => record.doubt("request", begin) }),
      },
      true,
    );
  }

  /** Answers a call that an earlier process had begun to answer. */
  resume(id: number, data: Uint8Array): void {
    this.#record?.begin(id, data);
    const request = this.#read(id, data);
    if (request !== undefined) this.#begin(id, 0, request, true);
  }

  get peer() {
    return this.#channel.stream.peer;
  }

  isBusy(ignored: (call: CallInfo) => boolean): boolean {
    return this.#channel.stream.queued > 0 || ![...this.calls.values()].every(ignored);
  }

  write(frame: Uint8Array): void {
    // The kernel takes a short one whole or not at all.
    if (frame.length > MAX_WHOLE_BYTES) this.#record?.doubt("answer", true);
    this.#channel.write(frame);
    if (this.#channel.stream.queued === 0) this.#sent();
    this.#owner.quiet();
  }

  #drained(): void {
    this.#sent();
    this.#owner.quiet();
  }

  /** All answers are with the kernel: nobody has to give them again. */
  #sent(): void {
    this.#record?.doubt("answer", false);
    for (const id of this.#unsent) this.#record?.end(id);
    this.#unsent.clear();
  }

  whenWritable(): Promise<void> | undefined {
    return this.#channel.whenWritable();
  }

  hold(): void {
    this.#channel.hold();
  }

  release(): void {
    this.#channel.release();
  }

  forget(call: ServerCall, error: TtrpcError | undefined): void {
    if (this.calls.get(call.id) === call) {
      this.calls.delete(call.id);
      if (this.#record !== undefined) this.#unsent.add(call.id);
    }
    this.#owner.finished(call, error);
  }

  close(): void {
    this.#channel.close();
  }

  #closed(): void {
    this.#record?.remove([...this.calls.keys(), ...this.#unsent]);
    this.#owner.closed();
    const gone = new TtrpcError(Code.CANCELLED, "the client went away");
    for (const call of [...this.calls.values()]) call.drop(gone);
    this.#owner.quiet();
  }

  #frame(frame: Frame): void {
    const { streamId, type, flags, data } = frame;
    if (!data) this.#reject(streamId, tooLarge(frame.length));
    else if (streamId % 2 === 0) this.#refuse(streamId, "is even: streams of a client are odd");
    else if (type === FrameType.REQUEST) this.#request(streamId, flags, data);
    else if (type === FrameType.DATA) this.#data(streamId, flags, data);
    // Other types are for later versions of the protocol, and ignored.
  }

  #request(id: number, flags: number, data: Uint8Array): void {
    if (id <= this.#keptId) return;
    this.#keptId = 0;
    if (id <= this.#lastId) {
      this.#refuse(id, "was used: stream ids have to rise");
      return;
    }
    this.#lastId = id;
    const request = this.#read(id, data);
    if (request === undefined) return;
    const isQuestion = this.#owner.isQuestion(request);
    if (!isQuestion) this.#note(id, data);
    this.#begin(id, flags, request, false);
    const isAnswered = !this.calls.has(id) && this.#channel.stream.queued === 0;
    if (isQuestion && !isAnswered) this.#note(id, data);
  }

  /** Writes a request down. What comes is a view of what was received, which does not stay. */
  #note(id: number, data: Uint8Array): void {
    if (this.#record === undefined) return;
    this.#recordedId = id;
    this.#record.begin(id, data.slice());
  }

  /** undefined if it was refused. */
  #read(id: number, data: Uint8Array): Request | undefined {
    try {
      return decodeRequest(data);
    } catch (error) {
      this.#refuse(id, `has a malformed request: ${TtrpcError.from(error).rawMessage}`);
      return undefined;
    }
  }

  #begin(id: number, flags: number, request: Request, isResumed: boolean): void {
    const call = new ServerCall(this, id, request, isResumed);
    this.calls.set(id, call);
    this.#owner.begin(call, request, flags);
  }

  #data(id: number, flags: number, data: Uint8Array): void {
    const call = this.calls.get(id);
    if (!call) this.#refuse(id, "is not open");
    else if (call.sink) call.sink.data(flags, data);
    // The bare end of a unary stream says nothing new.
    else if (!(flags & Flag.REMOTE_CLOSED) || data.length > 0)
      this.#refuse(id, "is a unary call: it takes no data");
  }

  #refuse(id: number, why: string): void {
    this.#reject(id, new TtrpcError(Code.INVALID_ARGUMENT, `stream ${id} ${why}`));
  }

  /** Answers a breach of the protocol on its stream. A call that runs there is given up, so that a stream has one answer. */
  #reject(id: number, error: TtrpcError): void {
    const call = this.calls.get(id) ?? new ServerCall(this, id, BREACH);
    call.abort(error);
  }
}

/** Stands for the request of a stream that has none, so that its refusal is seen by observers too. */
const BREACH: Request = {
  service: "",
  method: "",
  payload: undefined,
  timeoutMs: undefined,
  metadata: new Map(),
};
