// Calls that stream, on the server. Given to TtrpcServer as its `streaming` by servers that have such methods.

import { Flag } from "./frame.ts";
import { MessageQueue } from "./message-queue.ts";
import { decodePayload, type RegisteredMethod, type StreamingSupport } from "./server.ts";
import type { DataSink, ServerCall } from "./server-call.ts";
import { Code, TtrpcError } from "./status.ts";

/** Runs the handler of a streaming method. */
export const serverStreaming: StreamingSupport = (call, method, payload, remoteClosed) => {
  const { requestStream } = method.definition;
  const inbox = new Inbox(call, method, remoteClosed || !requestStream);
  call.sink = inbox;
  if (requestStream && payload) inbox.messages.push(payload);
  if (remoteClosed) inbox.messages.end();
  void serve(call, method, requestStream ? inbox.messages : payload);
};

async function serve(call: ServerCall, method: RegisteredMethod, input: unknown): Promise<void> {
  const { requestStream, responseStream, responseType } = method.definition;
  try {
    const request = requestStream
      ? input
      : decodePayload(method, (input as Uint8Array | undefined) ?? new Uint8Array(0));
    const result = method.handle(request, call);
    if (!responseStream) return call.reply(responseType, await result);
    for await (const message of result as AsyncIterable<unknown>) {
      call.send(responseType, message);
      await call.host.whenWritable();
      if (call.done) return;
    }
    call.endStream();
  } catch (error) {
    call.fail(TtrpcError.from(error));
  }
}

/** What the client of a call sends. */
class Inbox implements DataSink {
  readonly messages: MessageQueue<unknown>;
  readonly #call: ServerCall;
  #clientClosed: boolean;

  constructor(call: ServerCall, method: RegisteredMethod, clientClosed: boolean) {
    this.#call = call;
    this.#clientClosed = clientClosed;
    this.messages = new MessageQueue(method.definition.requestType, {
      clock: call.host.clock,
      hold: () => call.host.hold(),
      release: () => call.host.release(),
      // A handler may well answer without reading to the end; only a failure ends the call.
      abandoned: (error) => error && call.abort(error),
    });
  }

  data(flags: number, data: Uint8Array): void {
    const message = !(flags & Flag.NO_DATA);
    if (message && this.#clientClosed) {
      const breach = `stream ${this.#call.id} has data after its end`;
      this.#call.abort(new TtrpcError(Code.INVALID_ARGUMENT, breach));
      return;
    }
    if (message) this.messages.push(data);
    if (flags & Flag.REMOTE_CLOSED) {
      this.#clientClosed = true;
      this.messages.end();
    }
  }

  close(): void {
    this.messages.drop(new TtrpcError(Code.CANCELLED, "the call is over"));
  }
}
