// Opening a connection to a shim, and the name under which it serves the task API. holdfastd's ShimLink and holdfast's ShimConnection are made with it.
import { type TaskDefinition as Definition, TaskDefinition } from "../api/generated/task.ts";
import { TaskV3Definition } from "../api/task-v3.ts";
import { nodeClock, nodeNet } from "../platform/node.ts";
import { isSystemError } from "../platform/platform.ts";
import { TtrpcClient } from "../ttrpc/client.ts";
import type { ServiceClient } from "../ttrpc/definition.ts";
import { createClient } from "../ttrpc/typed-client.ts";
import { socketOf, type TaskApiVersion } from "./address.ts";

/** Takes an address with its scheme, a path, or "@…" for an abstract socket. Rejects with the system's error. `onClosed` is called once. */
export async function connectShim(address: string, onClosed?: () => void): Promise<TtrpcClient> {
  const socket = socketOf(address);
  const stream = await nodeNet.connect(socket.startsWith("@") ? `\0${socket.slice(1)}` : socket);
  return new TtrpcClient(stream, nodeClock, onClosed);
}

/** Whether an error of connectShim() says that nobody serves there any more. Others, such as EAGAIN of a full queue, say that somebody does. */
export function saysDead(error: unknown): boolean {
  return isSystemError(error, "ECONNREFUSED") || isSystemError(error, "ENOENT");
}

export function taskServiceName(version: TaskApiVersion): string {
  return version === 3 ? TaskV3Definition.fullName : TaskDefinition.fullName;
}

/** The messages of both versions are the same. */
export function taskClient(client: TtrpcClient, version: TaskApiVersion): ServiceClient<Definition> {
  return createClient(TaskDefinition, client, taskServiceName(version));
}
