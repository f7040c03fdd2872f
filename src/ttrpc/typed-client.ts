// A client with one function for each method of a service. The shim's one call goes through client.ts alone.

import type { TtrpcClient } from "./client.ts";
import { ClientStream } from "./client-stream.ts";
import type { CallOptions, MethodDefinition, ServiceClient, ServiceDefinition } from "./definition.ts";
import { TtrpcError } from "./status.ts";

/** Calls go to `fullName`, for a service that is served under more than one. */
export function createClient<D extends ServiceDefinition>(
  definition: D,
  client: TtrpcClient,
  fullName: string = definition.fullName,
): ServiceClient<D> {
  const methods: Record<string, unknown> = {};
  for (const [key, method] of Object.entries(definition.methods)) {
    methods[key] = (input: unknown, options?: CallOptions) => start(client, fullName, method, input, options);
  }
  return methods as ServiceClient<D>;
}

function start(
  client: TtrpcClient,
  service: string,
  method: MethodDefinition,
  input: unknown,
  options: CallOptions | undefined,
): unknown {
  const { requestStream, responseStream } = method;
  if (!requestStream && !responseStream) return client.call(service, method, input, options);
  const stream = new ClientStream(
    client,
    service,
    method,
    requestStream ? undefined : { message: input },
    options,
  );
  if (requestStream) void sendAll(stream, input as AsyncIterable<unknown>);
  return responseStream ? stream.responses : stream.response();
}

/**
 * If `requests` fails, the call fails with its error, and the server is not told that the stream ends: a cut-off stream must not look whole.
 * It learns by the deadline or the end of the connection.
 */
async function sendAll(
  stream: ClientStream<unknown, unknown>,
  requests: AsyncIterable<unknown>,
): Promise<void> {
  try {
    for await (const message of requests) {
      if (!stream.open) return;
      await stream.send(message);
    }
    stream.closeSend();
  } catch (error) {
    stream.abandon(TtrpcError.from(error));
  }
}
