// The connection to one container's shim. Made when the shim is started (tasks.ts) or found again (reattach.ts).
import type { TaskDefinition as Definition } from "../../api/generated/task.ts";
import { nodeClock } from "../../platform/node.ts";
import type { ByteStream } from "../../platform/platform.ts";
import type { ShimAddress } from "../../shims/address.ts";
import { connectShim, taskClient } from "../../shims/connect.ts";
import { TtrpcClient } from "../../ttrpc/client.ts";
import type { ServiceClient } from "../../ttrpc/definition.ts";
import { Deferred } from "../deferred.ts";

const endedStream: ByteStream = {
  peer: undefined,
  queued: 0,
  start: (handler) => queueMicrotask(() => handler.closed()),
  write() {},
  pause() {},
  resume() {},
  close() {},
};

export class ShimLink {
  readonly task: ServiceClient<Definition>;
  /** Resolves when the connection has ended, whoever ended it. */
  readonly closed: Promise<void>;
  readonly #client: TtrpcClient;

  private constructor(client: TtrpcClient, closed: Promise<void>, { version }: ShimAddress) {
    this.#client = client;
    this.closed = closed;
    this.task = taskClient(client, version);
  }

  /** Rejects with the system's error: see saysDead(). */
  static async connect(shim: ShimAddress): Promise<ShimLink> {
    const closed = new Deferred<void>();
    const client = await connectShim(shim.address, () => closed.resolve());
    return new ShimLink(client, closed.promise, shim);
  }

  /** One that has ended already: of a shim that is dead. */
  static ended(shim: ShimAddress): ShimLink {
    const closed = new Deferred<void>();
    const client = new TtrpcClient(endedStream, nodeClock, () => closed.resolve());
    return new ShimLink(client, closed.promise, shim);
  }

  get isClosed(): boolean {
    return this.#client.closed;
  }

  close(): void {
    this.#client.close();
  }
}
