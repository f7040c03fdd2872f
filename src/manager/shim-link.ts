// The connection to one container's shim. Made when the shim is started (tasks.ts) or found again (reattach.ts).
import { type TaskDefinition as Definition, TaskDefinition } from "../api/generated/task.ts";
import { TaskV3Definition } from "../api/task-v3.ts";
import { nodeClock, nodeNet } from "../platform/node.ts";
import { isSystemError } from "../platform/platform.ts";
import { TtrpcClient } from "../ttrpc/client.ts";
import type { ServiceClient } from "../ttrpc/definition.ts";
import { createClient } from "../ttrpc/typed-client.ts";
import type { ShimAddress } from "./bundle.ts";
import { Deferred } from "./deferred.ts";

const SCHEME = "unix://";

export class ShimLink {
  readonly task: ServiceClient<Definition>;
  /** Resolves when the connection has ended, whoever ended it. */
  readonly closed: Promise<void>;
  readonly #client: TtrpcClient;

  private constructor(client: TtrpcClient, closed: Promise<void>, version: number) {
    this.#client = client;
    this.closed = closed;
    this.task = createClient(TaskDefinition, client, version === 3 ? TaskV3Definition.fullName : undefined);
  }

  /** Rejects with the system's error: ECONNREFUSED and ENOENT mean that the shim is dead. */
  static async connect({ address, version }: ShimAddress): Promise<ShimLink> {
    const stream = await nodeNet.connect(address.slice(SCHEME.length));
    const closed = new Deferred<void>();
    const client = new TtrpcClient(stream, nodeClock, () => closed.resolve());
    return new ShimLink(client, closed.promise, version);
  }

  get isClosed(): boolean {
    return this.#client.closed;
  }

  close(): void {
    this.#client.close();
  }
}

/** Whether an error of connect() says that nobody serves there any more. */
export function saysDead(error: unknown): boolean {
  return isSystemError(error, "ECONNREFUSED") || isSystemError(error, "ENOENT");
}
