// The streaming service: a client's stream gets an id, by which other calls name it (containerd's plugins/services/streaming).
import { unpack } from "../../api/any.ts";
import { StreamInit, type StreamingDefinition } from "../../api/generated/streaming.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import type { Handlers } from "../server/grpc-server.ts";
import { ClientStream, type Streams } from "../server/streams.ts";

const STREAM_INIT = "containerd.services.streaming.v1.StreamInit";
const EMPTY = { typeUrl: "google.protobuf.Empty", value: new Uint8Array(0) };

export function streamingService(streams: Streams): Handlers<StreamingDefinition> {
  return {
    async *stream(requests, call) {
      const incoming = requests[Symbol.asyncIterator]();
      const { value, done } = await incoming.next();
      const init = done === true ? undefined : unpack(value, STREAM_INIT, StreamInit);
      if (init === undefined)
        throw new TtrpcError(
          Code.INVALID_ARGUMENT,
          "the first message must be a StreamInit: invalid argument",
        );
      const stream = new ClientStream(incoming);
      const unregister = streams.register(call.namespace, init.id, stream);
      call.signal.onCancel(() => stream.close());
      try {
        yield EMPTY;
        yield* stream.messages();
      } finally {
        unregister();
        stream.close();
      }
    },
  };
}
