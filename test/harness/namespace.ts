// A namespace of a test's own. Used by daemon.ts and direct-shim.ts.
import { randomBytes } from "node:crypto";

/**
 * A name that no other run on this host has, has had or will have: control groups go by it. A pid alone does not do: in a system of the matrix, which has its
 * own pids, another run's comes again.
 */
export function ownNamespace(kind: string): string {
  return `${kind}-${process.pid}-${randomBytes(3).toString("hex")}`;
}
