// Connecting to a daemon. What that takes is loaded with the first connection: verbs that need no daemon start in half the time without it.
import type { DaemonClient } from "./daemon-client.ts";

/** Throws a Problem if nobody answers there; `timeoutMs` is for each call that should be answered at once. */
export async function connectDaemon(
  address: string,
  namespace: string,
  timeoutMs: number,
): Promise<DaemonClient> {
  const { DaemonClient } = await import("./daemon-client.ts");
  return DaemonClient.connect(address, namespace, timeoutMs);
}
