// One call on a server: its context for the handler, its deadline, and its single end. Made by server.ts, answered also by server-stream.ts.

import type { Clock, PeerCredentials, Timer } from "../platform/platform.ts";
import { Cancellation } from "./cancel.ts";
import type { MessageCodec, Metadata } from "./codec.ts";
import type { CallContext } from "./definition.ts";
import { encodeFailure, encodePayload, type Request } from "./envelope.ts";
import { Flag, FrameType, newFrame, sealFrame } from "./frame.ts";
import { Code, TtrpcError } from "./status.ts";

/** Beyond what timers take (2^31 ms, 24 days), a deadline is as good as none. */
const MAX_TIMER_MS = 0x7fffffff;

/** What a call needs of its connection. */
export interface CallHost {
  readonly clock: Clock;
  readonly peer: PeerCredentials | undefined;
  write(frame: Uint8Array): void;
  whenWritable(): Promise<void> | undefined;
  hold(): void;
  release(): void;
  /** The call is over and takes no more frames. Comes before its last frame is written. */
  forget(call: ServerCall, error: TtrpcError | undefined): void;
}

/** Where the data frames of a call's client go. */
export interface DataSink {
  data(flags: number, data: Uint8Array): void;
  /** The call is over: nobody reads any more. */
  close(): void;
}

export class ServerCall extends Cancellation implements CallContext {
  readonly id: number;
  readonly host: CallHost;
  readonly service: string;
  readonly method: string;
  readonly metadata: Metadata;
  readonly startedMs: number;
  readonly deadlineMs: number | undefined;
  readonly isResumed: boolean;
  sink: DataSink | undefined;
  #timer: Timer | undefined;
  #done = false;

  constructor(host: CallHost, id: number, request: Request, isResumed = false) {
    super();
    this.isResumed = isResumed;
    this.host = host;
    this.id = id;
    this.service = request.service;
    this.method = request.method;
    this.metadata = request.metadata;
    this.startedMs = host.clock.monotonicMs();
    const { timeoutMs } = request;
    this.deadlineMs = timeoutMs === undefined ? undefined : this.startedMs + timeoutMs;
  }

  get peer(): PeerCredentials | undefined {
    return this.host.peer;
  }

  /** Whether the call has been answered or given up: what its handler does now is not sent. */
  get done(): boolean {
    return this.#done;
  }

  /** Arms the deadline, which has not passed. */
  arm(timeoutMs: number | undefined): void {
    if (this.#done || timeoutMs === undefined || timeoutMs > MAX_TIMER_MS) return;
    this.#timer = this.host.clock.after(Math.ceil(timeoutMs), () => this.expire());
  }

  /** The deadline has passed. */
  expire(): void {
    this.abort(new TtrpcError(Code.DEADLINE_EXCEEDED, "deadline exceeded"));
  }

  /** Ends the call with a message. Throws, and leaves the call as it is, if the message cannot be encoded or is too large. */
  reply<T>(codec: MessageCodec<T>, message: T): void {
    if (this.#done) return;
    this.#finish(
      this.#seal(FrameType.RESPONSE, 0, () => encodePayload(2, codec, message, newFrame())),
      undefined,
    );
  }

  /** Ends the call with an error. */
  fail(error: TtrpcError): void {
    if (this.#done) return;
    let frame: Uint8Array;
    try {
      frame = sealFrame(encodeFailure(error, newFrame()), this.id, FrameType.RESPONSE, 0);
    } catch (tooLarge) {
      frame = sealFrame(encodeFailure(TtrpcError.from(tooLarge), newFrame()), this.id, FrameType.RESPONSE, 0);
    }
    this.#finish(frame, error);
  }

  /** Ends the call with an error while its handler still runs, and tells the handler. */
  abort(error: TtrpcError): void {
    this.fail(error);
    this.cancel();
  }

  /** Ends the call without a word, because its connection is gone. */
  drop(error: TtrpcError): void {
    if (this.#done) return;
    this.#finish(undefined, error);
    this.cancel();
  }

  /** Sends one message of a stream. Throws as reply() does. */
  send<T>(codec: MessageCodec<T>, message: T): void {
    if (this.#done) return;
    this.host.write(this.#seal(FrameType.DATA, 0, () => codec.encode(message, newFrame())));
  }

  /** Ends a stream of messages. */
  endStream(): void {
    if (this.#done) return;
    this.#finish(
      sealFrame(newFrame(), this.id, FrameType.DATA, Flag.REMOTE_CLOSED | Flag.NO_DATA),
      undefined,
    );
  }

  #seal(type: FrameType, flags: number, encode: () => ReturnType<typeof newFrame>): Uint8Array {
    try {
      return sealFrame(encode(), this.id, type, flags);
    } catch (error) {
      throw TtrpcError.from(error, Code.INTERNAL);
    }
  }

  #finish(frame: Uint8Array | undefined, error: TtrpcError | undefined): void {
    this.#done = true;
    this.#timer?.cancel();
    this.sink?.close();
    this.host.forget(this, error);
    if (frame) this.host.write(frame);
  }
}
