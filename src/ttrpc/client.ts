// A ttrpc client: unary calls over one connection. The shim publishes its events with it; the daemon and the CLI call shims with it,
// mostly through typed-client.ts. Streams are in client-stream.ts.

import type { ByteStream, Clock, Timer } from "../platform/platform.ts";
import { Channel } from "./channel.ts";
import type { MessageCodec } from "./codec.ts";
import type { CallOptions, MethodDefinition } from "./definition.ts";
import { decodeResponse, encodePayload, encodeRequest, type Response } from "./envelope.ts";
import { type Frame, FrameType, newFrame, sealFrame, tooLarge } from "./frame.ts";
import { Code, TtrpcError } from "./status.ts";

const MAX_STREAM_ID = 0xffffffff;
/** Beyond what timers take (2^31 ms, 24 days), only the server minds the deadline. */
const MAX_TIMER_MS = 0x7fffffff;
const NO_BYTES = new Uint8Array(0);

/** Where the answers to one call go. respond() and fail() come once, and nothing after them. */
export interface Receiver {
  respond(response: Response): void;
  fail(error: TtrpcError): void;
  /** Absent on a unary call. */
  data?(flags: number, data: Uint8Array): void;
}

interface Pending {
  readonly receiver: Receiver;
  timer: Timer | undefined;
  offCancel: (() => void) | undefined;
}

export class TtrpcClient {
  readonly clock: Clock;
  readonly channel: Channel;
  readonly #calls = new Map<number, Pending>();
  readonly #onClosed: ((error: Error | undefined) => void) | undefined;
  #nextId = 1;
  #closed: TtrpcError | undefined;

  /** Takes over `stream`. `onClosed` is called once, when the connection has ended, after the calls have failed. */
  constructor(stream: ByteStream, clock: Clock, onClosed?: (error: Error | undefined) => void) {
    this.clock = clock;
    this.#onClosed = onClosed;
    this.channel = new Channel(
      stream,
      { frame: (frame) => this.#frame(frame), closed: (error) => this.#end(error) },
      false,
    );
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /** Calls a unary method of the service with that full name. Rejects with a TtrpcError. */
  call<Req, Res>(
    service: string,
    method: MethodDefinition<Req, Res>,
    request: Req,
    options: CallOptions = {},
  ): Promise<Res> {
    return new Promise((resolve, reject) => {
      this.begin(service, method.name, 0, { codec: method.requestType, message: request }, options, {
        respond: ({ payload }) => {
          try {
            resolve(method.responseType.decode(payload ?? NO_BYTES));
          } catch (error) {
            reject(TtrpcError.from(error, Code.INTERNAL));
          }
        },
        fail: reject,
      });
    });
  }

  /** Closes the connection; calls that are under way fail with UNAVAILABLE. */
  close(): void {
    this.channel.close();
  }

  /** Opens a stream with a request. Returns its id; if the call fails at once, `receiver` has been told so and the id is 0. */
  begin<Req>(
    service: string,
    method: string,
    flags: number,
    payload: { readonly codec: MessageCodec<Req>; readonly message: Req } | undefined,
    options: CallOptions,
    receiver: Receiver,
  ): number {
    const { timeoutMs, signal, metadata = new Map() } = options;
    const id = this.#nextId;
    try {
      if (this.#closed) throw this.#closed;
      if (id > MAX_STREAM_ID) throw new TtrpcError(Code.UNAVAILABLE, "connection has used up its stream ids");
      if (signal?.cancelled) throw cancelled();
      if (timeoutMs !== undefined && timeoutMs <= 0) throw expired();
      const frame = encodeRequest({ service, method, timeoutMs, metadata }, newFrame());
      if (payload) encodePayload(3, payload.codec, payload.message, frame);
      const bytes = sealFrame(frame, id, FrameType.REQUEST, flags);
      this.#nextId += 2;
      const call: Pending = { receiver, timer: undefined, offCancel: undefined };
      this.#calls.set(id, call);
      if (timeoutMs !== undefined && timeoutMs <= MAX_TIMER_MS) {
        call.timer = this.clock.after(Math.ceil(timeoutMs), () => this.fail(id, expired()));
      }
      call.offCancel = signal?.onCancel(() => this.fail(id, cancelled()));
      this.channel.write(bytes);
      return id;
    } catch (error) {
      receiver.fail(TtrpcError.from(error, Code.INTERNAL));
      return 0;
    }
  }

  /** Ends a call without an answer; what still comes for it is ignored. Returns its receiver, or undefined if it was over. */
  forget(id: number): Receiver | undefined {
    const call = this.#calls.get(id);
    if (!call) return undefined;
    this.#calls.delete(id);
    call.timer?.cancel();
    call.offCancel?.();
    return call.receiver;
  }

  /** Ends a call with an error. */
  fail(id: number, error: TtrpcError): void {
    this.forget(id)?.fail(error);
  }

  #frame({ streamId: id, type, flags, length, data }: Frame): void {
    const call = this.#calls.get(id);
    // An answer that comes too late, or what this version does not know.
    if (!call) return;
    if (!data) this.fail(id, tooLarge(length));
    else if (type === FrameType.RESPONSE) this.#response(id, data);
    else if (type !== FrameType.DATA) return;
    else if (call.receiver.data) call.receiver.data(flags, data);
    else this.fail(id, new TtrpcError(Code.INTERNAL, "server sent stream data to a unary call"));
  }

  #response(id: number, data: Uint8Array): void {
    let response: Response;
    try {
      response = decodeResponse(data);
    } catch (error) {
      const reason = TtrpcError.from(error).rawMessage;
      response = {
        error: new TtrpcError(Code.INTERNAL, `malformed response: ${reason}`),
        payload: undefined,
      };
    }
    if (response.error) this.fail(id, response.error);
    else this.forget(id)?.respond(response);
  }

  #end(cause: Error | undefined): void {
    const reason = cause ? `ttrpc connection closed: ${cause.message}` : "ttrpc connection closed";
    this.#closed = new TtrpcError(Code.UNAVAILABLE, reason, { cause });
    for (const id of [...this.#calls.keys()]) this.fail(id, this.#closed);
    this.#onClosed?.(cause);
  }
}

function expired(): TtrpcError {
  return new TtrpcError(Code.DEADLINE_EXCEEDED, "deadline exceeded");
}

function cancelled(): TtrpcError {
  return new TtrpcError(Code.CANCELLED, "cancelled by the caller");
}
