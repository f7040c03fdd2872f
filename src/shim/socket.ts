// The shim's socket: where it is, and how one shim of a group gets it (docs/shim-protocol.md). Used by bootstrap.ts, delete.ts and serve.ts.
import { isSystemError, type Platform } from "../platform/platform.ts";

const SOCKET_DIR = "/run/containerd/s";
/** sun_path holds 108 bytes; containerd allows 106. */
const MAX_PATH = 106;

/** The socket of a group's shim. `group` is the container's id if it has no other. */
export function socketPath(
  platform: Platform,
  {
    address,
    namespace,
    group,
    directory = SOCKET_DIR,
  }: { address: string; namespace: string; group: string; directory?: string },
): string {
  const name = platform.sha256([address, namespace, group].filter((part) => part !== "").join("/"));
  const path = `${directory}/${name}`;
  if (platform.text.encode(path).length > MAX_PATH)
    throw new Error(`${path}: unix socket path too long (> ${MAX_PATH})`);
  return path;
}

/** Listens at the path. undefined if a living shim has it already; a dead one's socket is replaced. */
export function bindSocket(platform: Platform, path: string): number | undefined {
  platform.files.makeDirectories(path.slice(0, path.lastIndexOf("/")), 0o700);
  for (;;) {
    try {
      return platform.net.listen(path, 0o600);
    } catch (error) {
      if (!isSystemError(error, "EADDRINUSE")) throw error;
    }
    if (platform.net.answers(path)) return undefined;
    if (!removeDead(platform, path)) return undefined;
  }
}

/**
 * Removes the socket of a dead shim. Another `start` may have replaced it since we looked: so it is moved aside and asked once more there,
 * which a bound socket survives, and put back if it answers. Returns whether it is gone.
 */
export function removeDead(platform: Platform, path: string): boolean {
  const aside = `${path}.${platform.self.pid()}`;
  try {
    platform.files.rename(path, aside);
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return true;
    throw error;
  }
  if (platform.net.answers(aside)) {
    platform.files.rename(aside, path);
    return false;
  }
  platform.files.remove(aside);
  return true;
}
