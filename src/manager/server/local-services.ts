// The daemon's own services as a client has them, for work that is done in the daemon on a client's behalf: transfers. Nothing goes over a socket, and
// what a service demands of a client it demands of this one.
import {
  ContentDefinition,
  WriteAction,
  type WriteContentRequest,
  type WriteContentResponse,
} from "../../api/generated/content.ts";
import { DiffDefinition } from "../../api/generated/diff.ts";
import { ImagesDefinition } from "../../api/generated/images.ts";
import { LeasesDefinition } from "../../api/generated/leases.ts";
import { SnapshotsDefinition } from "../../api/generated/snapshots.ts";
import { failpoint } from "../../platform/failpoint.ts";
import type { Calls, ContentWrite, ImageServices } from "../../transfer/services.ts";
import type { ServiceDefinition } from "../../ttrpc/definition.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import type { Call, Handlers } from "./grpc-server.ts";

/** The services of which a transfer is made. */
export interface ServiceHandlers {
  readonly content: Handlers<ContentDefinition>;
  readonly images: Handlers<ImagesDefinition>;
  readonly snapshots: Handlers<SnapshotsDefinition>;
  readonly diff: Handlers<DiffDefinition>;
  readonly leases: Handlers<LeasesDefinition>;
}

export function localServices(handlers: ServiceHandlers, call: Call): ImageServices {
  return {
    content: calls(ContentDefinition, handlers.content, call),
    images: calls(ImagesDefinition, handlers.images, call),
    snapshots: calls(SnapshotsDefinition, handlers.snapshots, call),
    diff: calls(DiffDefinition, handlers.diff, call),
    leases: calls(LeasesDefinition, handlers.leases, call),
    lease: call.lease,
    writeContent: () => new LocalWrite(handlers.content, call),
    underLease: (lease) => localServices(handlers, withLease(call, lease)),
  };
}

/** A call's namespace is looked up when it is asked for: it cannot be spread. */
function withLease(call: Call, lease: string): Call {
  const { client, reason, signal } = call;
  return { namespace: call.namespace, client, reason, signal, lease };
}

function calls<D extends ServiceDefinition & { readonly name: string }>(
  definition: D,
  handlers: Handlers<D>,
  call: Call,
): Calls<D> {
  const found: Record<string, unknown> = {};
  for (const [key, { name, requestStream, responseStream }] of Object.entries(definition.methods)) {
    const handler = handlers[key] as ((request: unknown, call: Call) => unknown) | undefined;
    if (requestStream) continue;
    const act = (request: unknown): unknown => {
      if (handler === undefined) throw new TtrpcError(Code.UNIMPLEMENTED, `${definition.fullName}/${name}`);
      return handler.call(handlers, request, call);
    };
    const step = `transfer:${definition.name}/${name}`;
    const unary = async (request: unknown): Promise<unknown> => {
      failpoint(`${step}:request`);
      const answer = await act(request);
      failpoint(`${step}:response`);
      return answer;
    };
    found[key] = responseStream ? act : unary;
  }
  return found as Calls<D>;
}

/** For the names of failpoints. */
const ACTIONS = {
  [WriteAction.STAT]: "stat",
  [WriteAction.WRITE]: "write",
  [WriteAction.COMMIT]: "commit",
} as const;

/** A Write without a connection. */
class LocalWrite implements ContentWrite {
  readonly #answers: AsyncIterator<WriteContentResponse>;
  #next: WriteContentRequest | undefined;

  constructor(handlers: Handlers<ContentDefinition>, call: Call) {
    const write = handlers.write?.bind(handlers);
    if (write === undefined) throw new TtrpcError(Code.UNIMPLEMENTED, "content.Write");
    this.#answers = write(this.#requests(), call)[Symbol.asyncIterator]();
  }

  /** It is asked for the next message only after that was put there. */
  async *#requests(): AsyncGenerator<WriteContentRequest> {
    for (;;) {
      const message = this.#next;
      if (message === undefined) return;
      this.#next = undefined;
      yield message;
    }
  }

  async send(
    message: Pick<WriteContentRequest, "action" | "ref" | "offset"> & Partial<WriteContentRequest>,
  ): Promise<WriteContentResponse> {
    this.#next = { total: 0n, expected: "", data: new Uint8Array(0), labels: {}, ...message };
    const step = `transfer:Write/${ACTIONS[message.action]}`;
    failpoint(`${step}:request`);
    const { value, done } = await this.#answers.next();
    failpoint(`${step}:response`);
    if (done === true) throw new Error("the write has ended");
    return value;
  }

  async end(): Promise<void> {
    await this.#answers.return?.();
  }
}
