// A call line to one shim, with no daemon in between: finds out whether it speaks version 2 or 3 of the task service.

import type { ShimDump } from "../../api/dump.ts";
import { DebugDefinition, type UpgradeResponse } from "../../api/generated/debug.ts";
import type { TaskDefinition } from "../../api/generated/task.ts";
import { connectShim, taskClient } from "../../shims/connect.ts";
import type { TtrpcClient } from "../../ttrpc/client.ts";
import type { CallOptions, ServiceClient } from "../../ttrpc/definition.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { Problem, systemText } from "../text/problem.ts";

export type TaskApi = "v2" | "v3";
const VERSIONS = { v2: 2, v3: 3 } as const;

export class ShimConnection {
  readonly socket: string;
  readonly client: TtrpcClient;
  /** The version that the shim speaks; each has the messages of the other. */
  readonly api: TaskApi;
  readonly task: ServiceClient<TaskDefinition>;
  readonly #timeoutMs: number;

  private constructor(socket: string, client: TtrpcClient, api: TaskApi, timeoutMs: number) {
    this.socket = socket;
    this.client = client;
    this.api = api;
    this.#timeoutMs = timeoutMs;
    this.task = taskClient(client, VERSIONS[api]);
  }

  /** Connects and asks for the container `id`, which need not exist. Throws a Problem that names the socket; a hung shim takes `timeoutMs`. */
  static async open(socket: string, id: string, timeoutMs: number): Promise<ShimConnection> {
    // Connect is answered by every shim, for a container that it does not know too: Go's says NOT_FOUND then.
    const { connection } = await ShimConnection.asking(socket, timeoutMs, (task) =>
      task.connect({ id }, { timeoutMs }),
    );
    return connection;
  }

  /**
   * Connects with the first question that there is: `ask` is sent to the version that the shim speaks, and its answer comes with the connection.
   * Any answer will do, also an error of the shim's own. Throws as open() does.
   */
  static async asking<T>(
    socket: string,
    timeoutMs: number,
    ask: (task: ServiceClient<TaskDefinition>) => Promise<T>,
  ): Promise<{ connection: ShimConnection; answer: T | TtrpcError }> {
    return reaching(socket, timeoutMs, async (client) => {
      const { api, answer } = await askVersions((version) => ask(taskClient(client, version)));
      return { connection: new ShimConnection(socket, client, api, timeoutMs), answer };
    });
  }

  /** For calls that are answered at once. */
  get limit(): CallOptions {
    return { timeoutMs: this.#timeoutMs };
  }

  /** What the shim tells of itself. Rejects with UNIMPLEMENTED if it is not ours. */
  async inside(): Promise<ShimDump> {
    const { fullName, methods } = DebugDefinition;
    const { json } = await this.client.call(fullName, methods.dump, {}, this.limit);
    return JSON.parse(json) as ShimDump;
  }

  /** Has `program`, a path, take its place; "" is where its own lies. Rejects with UNIMPLEMENTED if it is not ours. */
  upgrade(program: string): Promise<UpgradeResponse> {
    const { fullName, methods } = DebugDefinition;
    return this.client.call(fullName, methods.upgrade, { program }, this.limit);
  }

  close(): void {
    this.client.close();
  }
}

async function connect(socket: string): Promise<TtrpcClient> {
  try {
    return await connectShim(socket);
  } catch (error) {
    throw new Problem(`cannot connect to the shim at ${socket}: ${systemText(error)}`, undefined, {
      cause: error,
    });
  }
}

/** Closes the connection if `use` fails, and says of a shim that hangs that it does. */
async function reaching<T>(
  socket: string,
  timeoutMs: number,
  use: (client: TtrpcClient) => Promise<T>,
): Promise<T> {
  const client = await connect(socket);
  try {
    return await use(client);
  } catch (error) {
    client.close();
    if (!(error instanceof TtrpcError) || error.code !== Code.DEADLINE_EXCEEDED) throw error;
    const text = `no answer from the shim at ${socket} in ${timeoutMs} ms`;
    throw new Problem(text, undefined, { cause: error });
  }
}

async function askVersions<T>(
  ask: (version: 2 | 3) => Promise<T>,
): Promise<{ api: TaskApi; answer: T | TtrpcError }> {
  for (const api of ["v2", "v3"] as const) {
    try {
      return { api, answer: await ask(VERSIONS[api]) };
    } catch (error) {
      if (!(error instanceof TtrpcError)) throw error;
      if (error.code === Code.UNIMPLEMENTED) continue;
      if (error.code === Code.DEADLINE_EXCEEDED || error.code === Code.UNAVAILABLE) throw error;
      return { api, answer: error };
    }
  }
  throw new Problem("it serves neither version 2 nor version 3 of the task service");
}
