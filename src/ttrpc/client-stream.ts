// A call that streams, on the client.

import type { TtrpcClient } from "./client.ts";
import type { CallOptions, MethodDefinition } from "./definition.ts";
import { Flag, FrameType, newFrame, sealFrame } from "./frame.ts";
import { MessageQueue } from "./message-queue.ts";
import { Code, TtrpcError } from "./status.ts";

const NO_BYTES = new Uint8Array(0);

export class ClientStream<Req, Res> {
  /** The answers. Leaving the loop early gives the call up: the server is not told, and goes on to the call's deadline. */
  readonly responses: MessageQueue<Res>;
  readonly #client: TtrpcClient;
  readonly #method: MethodDefinition<Req, Res>;
  readonly #id: number;
  #open = true;
  #sending: boolean;

  /** Starts the call. `first` is the one request of a method that does not stream its requests, and else undefined. */
  constructor(
    client: TtrpcClient,
    service: string,
    method: MethodDefinition<Req, Res>,
    first: { readonly message: Req } | undefined,
    options: CallOptions = {},
  ) {
    this.#client = client;
    this.#method = method;
    this.#sending = method.requestStream;
    this.responses = new MessageQueue(method.responseType, {
      clock: client.clock,
      hold: () => client.channel.hold(),
      release: () => client.channel.release(),
      abandoned: () => {
        this.#open = false;
        client.forget(this.#id);
      },
    });
    this.#id = client.begin(
      service,
      method.name,
      method.requestStream ? Flag.REMOTE_OPEN : Flag.REMOTE_CLOSED,
      first && { codec: method.requestType, message: first.message },
      options,
      {
        respond: ({ payload }) => {
          // A stream may end with a bare response; without a stream, a bare response is an empty message.
          if (payload || !method.responseStream) this.responses.push(payload ?? NO_BYTES);
          this.#end();
        },
        fail: (error) => this.#end(error),
        data: (flags, data) => this.#data(flags, data),
      },
    );
  }

  /** Whether the server has not ended the call yet. */
  get open(): boolean {
    return this.#open;
  }

  /** Sends a message, and waits while too much waits to be sent. Ignored once the call is over: `responses` tells why. */
  async send(message: Req): Promise<void> {
    if (!this.#sending)
      throw new TtrpcError(Code.FAILED_PRECONDITION, "the sending side of the stream is closed");
    if (!this.#open) return;
    const frame = this.#method.requestType.encode(message, newFrame());
    this.#client.channel.write(sealFrame(frame, this.#id, FrameType.DATA, 0));
    await this.#client.channel.whenWritable();
  }

  /** Tells the server that no more messages come. */
  closeSend(): void {
    if (this.#sending && this.#open) {
      this.#client.channel.write(
        sealFrame(newFrame(), this.#id, FrameType.DATA, Flag.REMOTE_CLOSED | Flag.NO_DATA),
      );
    }
    this.#sending = false;
  }

  /** Gives the call up; `responses` fails with `error`. */
  abandon(error: TtrpcError): void {
    this.#client.fail(this.#id, error);
  }

  /** The one answer of a method that does not stream its answers. */
  async response(): Promise<Res> {
    const { done, value } = await this.responses.next();
    if (done) throw new TtrpcError(Code.INTERNAL, `${this.#method.name} ended without a response`);
    return value;
  }

  #data(flags: number, data: Uint8Array): void {
    if (!this.#method.responseStream) {
      this.abandon(new TtrpcError(Code.INTERNAL, "server streams an answer that should be one message"));
      return;
    }
    if (!(flags & Flag.NO_DATA)) this.responses.push(data);
    if (flags & Flag.REMOTE_CLOSED) {
      this.#client.forget(this.#id);
      this.#end();
    }
  }

  #end(error?: TtrpcError): void {
    this.#open = false;
    this.responses.end(error);
  }
}
