// Which containers daemons have on record: what is on one is no leftover, however dead it looks.
import { existsSync } from "node:fs";
import { connectDaemon } from "../containers/connect.ts";

/** Daemons that a host may have, and where they keep their records while they do not run. */
const DAEMONS = [
  { socket: "/run/holdfast/holdfast.sock", records: "/var/lib/holdfast" },
  {
    socket: "/run/containerd/containerd.sock",
    records: "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db",
  },
  {
    socket: "/run/docker/containerd/containerd.sock",
    records: "/var/lib/docker/containerd/daemon/io.containerd.metadata.v1.bolt/meta.db",
  },
] as const;

export interface Records {
  /** Whether a daemon that answers knows the container. */
  has(namespace: string, id: string): boolean;
  /** Sockets of daemons that may have records, and do not answer. */
  readonly silent: readonly string[];
}

/** Asks the daemons of these sockets, and those that a host may have; all at once, each for `timeoutMs` at most. */
export async function askRecords(addresses: Iterable<string>, timeoutMs: number): Promise<Records> {
  const sockets = new Set([...addresses].filter((address) => address.startsWith("/")));
  for (const { socket, records } of DAEMONS) {
    if (existsSync(socket) || existsSync(records)) sockets.add(socket);
  }
  const known = new Set<string>();
  const silent: string[] = [];
  await Promise.all(
    [...sockets].map(async (socket) => {
      const found = await recordsOf(socket, timeoutMs).catch(() => undefined);
      if (found === undefined) silent.push(socket);
      for (const key of found ?? []) known.add(key);
    }),
  );
  return { has: (namespace, id) => known.has(`${namespace}/${id}`), silent: silent.sort() };
}

async function recordsOf(socket: string, timeoutMs: number): Promise<string[]> {
  const daemon = await connectDaemon(socket, "default", timeoutMs);
  try {
    const { namespaces } = await daemon.namespaces.list({ filter: "" });
    const found = await Promise.all(
      namespaces.map(async ({ name }) => {
        const { containers } = await daemon.inNamespace(name).containers.list({ filters: [] });
        return containers.map(({ id }) => `${name}/${id}`);
      }),
    );
    return found.flat();
  } finally {
    daemon.close();
  }
}
