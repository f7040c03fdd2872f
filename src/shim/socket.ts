// The shim's socket: where it is, and how one shim of a group gets it (docs/shim-protocol.md).
import { TaskDefinition } from "../api/generated/task.ts";
import { isSystemError, type Platform } from "../platform/platform.ts";
import { TtrpcClient } from "../ttrpc/client.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";

const SOCKET_DIR = "/run/containerd/s";
/** sun_path holds 108 bytes; containerd allows 106. */
const MAX_PATH = 106;

/** How long a shim may take to say anything at all, in ms; one that is silent for longer is stopped, not dead. */
const ANSWER_TIMEOUT = 1_000;
/** How long a process that was killed may hold its socket open, in ms, and how often to look. */
const DYING_TIMEOUT = 1_000;
const DYING_CHECK = 5;

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
export async function bindSocket(platform: Platform, path: string): Promise<number | undefined> {
  platform.files.makeDirectories(path.slice(0, path.lastIndexOf("/")), 0o700);
  for (;;) {
    try {
      return platform.net.listen(path, 0o600);
    } catch (error) {
      if (!isSystemError(error, "EADDRINUSE")) throw error;
    }
    if (!(await removeIfDead(platform, path))) return undefined;
  }
}

/** Removes the socket of a shim that is dead, or about to be. Returns whether it is gone. Throws where that cannot be told. */
export async function removeIfDead(platform: Platform, path: string): Promise<boolean> {
  return (await isDead(platform, path)) && removeDead(platform, path);
}

/**
 * Whether nobody serves the socket. The listener of a process that was killed takes connections for some milliseconds more, after all others
 * of its connections have ended: so somebody who listens is asked for a word, and one who has none to say is waited for.
 */
async function isDead(platform: Platform, path: string): Promise<boolean> {
  const { clock, net } = platform;
  const deadline = clock.monotonicMs() + DYING_TIMEOUT;
  while (net.answers(path)) {
    if ((await speaks(platform, path)) || clock.monotonicMs() > deadline) return false;
    await new Promise<void>((resolve) => clock.after(DYING_CHECK, resolve));
  }
  return true;
}

/** Whether a ttrpc server answers, or is at least silent: one that leaves or dies ends the connection. One that is full is busy, or stopped. */
async function speaks(platform: Platform, path: string): Promise<boolean> {
  return (await ask(platform, path, "holdfast.shim.v1.Nothing", "Probe")) !== Code.UNAVAILABLE;
}

/** Whether the shim at the socket, which may be another's, has version 3 of the task API alone, as Go's has since containerd 2.0. */
export async function hasOnlyVersion3(platform: Platform, path: string): Promise<boolean> {
  return (await ask(platform, path, TaskDefinition.fullName, "Connect")) === Code.UNIMPLEMENTED;
}

/** How a call with an empty request ends there. */
async function ask({ net, clock }: Platform, path: string, service: string, name: string): Promise<number> {
  let client: TtrpcClient;
  try {
    client = new TtrpcClient(await net.connect(path), clock);
  } catch (error) {
    return isSystemError(error, "EAGAIN") ? Code.RESOURCE_EXHAUSTED : Code.UNAVAILABLE;
  }
  try {
    const nothing = { encode: (_: unknown, writer: never) => writer, decode: () => undefined };
    const method = { name, requestType: nothing, responseType: nothing };
    const unary = { ...method, requestStream: false, responseStream: false };
    await client.call(service, unary as never, undefined, { timeoutMs: ANSWER_TIMEOUT });
    return Code.OK;
  } catch (error) {
    return TtrpcError.from(error).code;
  } finally {
    client.close();
  }
}

/**
 * Removes the socket of a dead shim. Another `start` may have replaced it since we looked: so it is moved aside and asked once more there,
 * which a bound socket survives, and put back if it answers. Returns whether it is gone.
 */
function removeDead(platform: Platform, path: string): boolean {
  const aside = `${path}.${platform.self.pid()}`;
  try {
    platform.files.rename(path, aside);
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return true;
    throw error;
  }
  let alive = true;
  try {
    alive = platform.net.answers(aside);
  } finally {
    if (alive) platform.files.rename(aside, path);
  }
  if (!alive) platform.files.remove(aside);
  return !alive;
}
