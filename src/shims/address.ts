// Where a shim serves: what its `start` prints, and what the files in a bundle say by which daemons find it again.

const SCHEME = "unix://";
/** A path, or an abstract socket as /proc/net/unix shows it. */
const ADDRESS = /^unix:\/\/[/@]\S+$/;
const MAX_SHOWN = 200;

export type TaskApiVersion = 2 | 3;

/** `version` is of its task API. */
export interface ShimAddress {
  readonly address: string;
  readonly version: TaskApiVersion;
}

/** What `start` printed, or the text of `bootstrap.json` or `address`: JSON, or the address alone. Throws, naming `source`, if it is neither. */
export function parseShimAddress(text: string, source: string): ShimAddress {
  const shown = JSON.stringify(text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text);
  if (!text.startsWith("{")) {
    if (!ADDRESS.test(text)) throw new Error(`${source}: ${shown} is no address of a shim`);
    return { address: text, version: 2 };
  }
  const { version, address, protocol } = parseObject(text, `${source}: ${shown} is broken JSON`);
  if (typeof address !== "string" || !ADDRESS.test(address))
    throw new Error(`${source}: no address in ${shown}`);
  if (version !== 2 && version !== 3)
    throw new Error(`${source}: version ${String(version)} of the task API is not known`);
  if (protocol !== undefined && protocol !== "ttrpc")
    throw new Error(`${source}: protocol ${String(protocol)} is not known`);
  return { address, version };
}

function parseObject(text: string, complaint: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    throw new Error(complaint, { cause: error });
  }
}

/** The socket of an address: a path, or "@…" for an abstract one. A socket is given back as it is. */
export function socketOf(address: string): string {
  return address.startsWith(SCHEME) ? address.slice(SCHEME.length) : address;
}
