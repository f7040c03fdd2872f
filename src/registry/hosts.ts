// Which hosts stand for a registry: hosts.toml in a directory of the registry's name, as containerd reads it (its docs/hosts.md), Docker's certificate
// files, or the registry itself.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { isAbsolute, join, posix } from "node:path";
import { parse } from "smol-toml";
import { Code, TtrpcError } from "../ttrpc/status.ts";

export type Capability = "pull" | "resolve" | "push";
const CAPABILITIES: readonly Capability[] = ["pull", "resolve", "push"];

export interface TlsSettings {
  /** Paths of files, beside the system's own. */
  readonly ca: readonly string[];
  /** Pairs of paths; a file may hold both. */
  readonly client: readonly { readonly cert: string; readonly key: string }[];
  readonly skipVerify: boolean;
}

export interface RegistryHost {
  readonly scheme: "http" | "https";
  /** host[:port] */
  readonly host: string;
  /** Where its API begins: "/v2", unless the file says otherwise. */
  readonly path: string;
  readonly capabilities: readonly Capability[];
  readonly tls: TlsSettings;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly dialTimeoutMs: number | undefined;
  /** It is tried by TLS, and without if it does not speak that: a registry on this machine, or one that is given as http with certificates. */
  readonly mayBePlain: boolean;
  /** The registry that it stands for, if it is another's mirror: it is told which. */
  readonly namespace: string | undefined;
}

export interface HostOptions {
  /** Of directories as certs.d; the first that has one for the registry counts. */
  readonly directories: readonly string[];
  /** "http" or "https" for a registry that no file is about; "" decides by its name. */
  readonly defaultScheme: string;
  /** Gets what is wrong with a file. */
  readonly notice: (text: string) => void;
}

const DOCKER_HUB = "docker.io";
const DOCKER_HUB_HOST = "registry-1.docker.io";
const NO_TLS: TlsSettings = { ca: [], client: [], skipVerify: false };

/** The hosts in the order in which they are to be asked. Throws INVALID_ARGUMENT for a file that cannot be read, and names it. */
export function registryHosts(registry: string, options: HostOptions): RegistryHost[] {
  const directory = directoryOf(registry, options.directories);
  const found = directory === undefined ? undefined : readDirectory(directory, options.notice);
  return (found ?? [EMPTY]).map((entry) => complete(registry, entry, options.defaultScheme));
}

/** What a file says of one host. */
interface Entry {
  /** undefined for the registry itself. */
  readonly url: URL | undefined;
  readonly overridePath: boolean;
  readonly capabilities: readonly Capability[];
  readonly ca: readonly string[];
  readonly client: readonly { readonly cert: string; readonly key: string }[];
  readonly skipVerify: boolean | undefined;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly dialTimeoutMs: number | undefined;
}

const EMPTY: Entry = {
  url: undefined,
  overridePath: false,
  capabilities: CAPABILITIES,
  ca: [],
  client: [],
  skipVerify: undefined,
  headers: {},
  dialTimeoutMs: undefined,
};

function complete(registry: string, entry: Entry, defaultScheme: string): RegistryHost {
  const { url, capabilities, headers, dialTimeoutMs } = entry;
  const hasTls = entry.ca.length > 0 || entry.client.length > 0 || entry.skipVerify !== undefined;
  const tls = { ca: entry.ca, client: entry.client, skipVerify: entry.skipVerify ?? false };
  const shared = { capabilities, headers, dialTimeoutMs };
  if (url !== undefined) {
    const isPlain = url.protocol === "http:";
    const host = url.host;
    const namespace = isItself(registry, host) ? undefined : registry;
    const mayBePlain = isPlain && hasTls && url.port !== "" && url.port !== "80";
    const scheme = isPlain && !mayBePlain ? "http" : "https";
    return { ...shared, scheme, host, path: pathOf(url, entry.overridePath), tls, mayBePlain, namespace };
  }
  const own = { ...shared, path: "/v2", namespace: undefined };
  if (registry === DOCKER_HUB)
    return { ...own, scheme: "https", host: DOCKER_HUB_HOST, tls, mayBePlain: false };
  const isLocal = isLoopback(registry) && defaultScheme === "";
  const port = /:(\d+)$/.exec(registry)?.[1] ?? "";
  if (isLocal && port === "80")
    return { ...own, scheme: "http", host: registry, tls: NO_TLS, mayBePlain: false };
  if (isLocal) {
    const mayBePlain = port !== "" && port !== "443";
    const skipVerify = entry.skipVerify ?? true;
    return { ...own, scheme: "https", host: registry, tls: { ...tls, skipVerify }, mayBePlain };
  }
  const mayBePlain = defaultScheme === "http" && hasTls && port !== "80";
  const scheme = defaultScheme === "http" && !mayBePlain ? "http" : "https";
  return { ...own, scheme, host: registry, tls, mayBePlain };
}

function isItself(registry: string, host: string): boolean {
  return host === registry || (registry === DOCKER_HUB && host === DOCKER_HUB_HOST);
}

function pathOf({ pathname }: URL, override: boolean): string {
  const path = posix.normalize(pathname).replace(/\/$/, "");
  return override || path.endsWith("/v2") ? path : `${path}/v2`;
}

/** Whether a registry's host is this machine. */
export function isLoopback(registry: string): boolean {
  const host = registry.replace(/:\d+$/, "").toLowerCase();
  return host === "localhost" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}

function directoryOf(registry: string, roots: readonly string[]): string | undefined {
  const withPort = registry.replace(/:(\d+)$/, "_$1_");
  return roots
    .flatMap((root) => [withPort, registry, "_default"].map((name) => join(root, name)))
    .find((path) => existsSync(path));
}

/** A file that makes no sense is passed over, as containerd does: the registry itself is asked then, with the certificates that lie beside the file. */
function readDirectory(directory: string, notice: HostOptions["notice"]): Entry[] {
  const file = join(directory, "hosts.toml");
  let text = "";
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT" && code !== "ENOTDIR") {
      const text = `${file}: ${(error as Error).message}: invalid argument`;
      throw new TtrpcError(Code.INVALID_ARGUMENT, text);
    }
  }
  if (text.trim() === "") return [certificateFiles(directory)];
  try {
    return readHosts(directory, parse(text));
  } catch (error) {
    notice(`${file} is passed over: ${(error as Error).message}`);
    return [certificateFiles(directory)];
  }
}

type Table = Readonly<Record<string, unknown>>;

function readHosts(directory: string, content: Table): Entry[] {
  const hosts = content.host === undefined ? {} : tableOf("host", content.host);
  const mirrors = Object.entries(hosts).map(([url, table]) =>
    readEntry(directory, urlOf(url), tableOf(`host.${url}`, table)),
  );
  const server = content.server === undefined ? "" : textOf("server", content.server);
  return [...mirrors, readEntry(directory, server === "" ? undefined : urlOf(server), content)];
}

function urlOf(text: string): URL {
  const url = new URL(text.includes("://") ? text : `https://${text}`);
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw new Error(`${text}: neither http nor https`);
  return url;
}

function readEntry(directory: string, url: URL | undefined, table: Table): Entry {
  const path = (text: string): string => (isAbsolute(text) ? text : join(directory, text));
  const { skip_verify: skipVerify, override_path: overridePath, dial_timeout: dialTimeout } = table;
  if (skipVerify !== undefined && typeof skipVerify !== "boolean")
    throw new Error("skip_verify: true or false");
  if (overridePath !== undefined && typeof overridePath !== "boolean")
    throw new Error("override_path: true or false");
  return {
    url,
    overridePath: overridePath ?? false,
    capabilities: table.capabilities === undefined ? CAPABILITIES : capabilitiesOf(table.capabilities),
    ca: table.ca === undefined ? [] : textsOf("ca", table.ca).map(path),
    client: table.client === undefined ? [] : clientOf(table.client, path),
    skipVerify,
    headers: table.header === undefined ? {} : headersOf(table.header),
    dialTimeoutMs: dialTimeout === undefined ? undefined : durationOf(textOf("dial_timeout", dialTimeout)),
  };
}

function capabilitiesOf(value: unknown): readonly Capability[] {
  const found = textsOf("capabilities", value).map((text) => {
    const known = CAPABILITIES.find((each) => each === text.toLowerCase());
    if (known === undefined) throw new Error(`unknown capability ${text}`);
    return known;
  });
  return found.length === 0 ? CAPABILITIES : found;
}

function clientOf(value: unknown, path: (text: string) => string): Entry["client"] {
  const pairs = typeof value === "string" ? [value] : value;
  if (!Array.isArray(pairs)) throw new Error("client: a path, or a list of paths or pairs of them");
  return pairs.map((pair: unknown) => {
    if (typeof pair === "string") return { cert: path(pair), key: path(pair) };
    const [cert, key] = Array.isArray(pair) ? pair : [];
    if (!Array.isArray(pair) || pair.length !== 2 || typeof cert !== "string" || typeof key !== "string")
      throw new Error(`client: ${JSON.stringify(pair)} is no pair of paths`);
    return { cert: path(cert), key: path(key === "" ? cert : key) };
  });
}

function headersOf(value: unknown): Record<string, readonly string[]> {
  return Object.fromEntries(
    Object.entries(tableOf("header", value)).map(([name, text]) => [name, textsOf(`header.${name}`, text)]),
  );
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds of a duration as Go writes them. */
function durationOf(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join("") !== text)
    throw new Error(`dial_timeout: ${text} is no duration such as 5s`);
  return parts.reduce((sum, [, count = "0", unit = ""]) => sum + Number(count) * (UNITS[unit] ?? 0), 0);
}

/** .crt for authorities, .cert and .key for a client, as Docker has them. */
function certificateFiles(directory: string): Entry {
  const names = readdirSync(directory).sort();
  const withEnd = (end: string): string[] => names.filter((name) => name.endsWith(end));
  const client = withEnd(".cert").map((name) => {
    const key = `${name.slice(0, -".cert".length)}.key`;
    return { cert: join(directory, name), key: join(directory, names.includes(key) ? key : name) };
  });
  return { ...EMPTY, ca: withEnd(".crt").map((name) => join(directory, name)), client };
}

function textOf(name: string, value: unknown): string {
  if (typeof value !== "string") throw new Error(`${name}: give a text in quotes`);
  return value;
}

function textsOf(name: string, value: unknown): string[] {
  if (!Array.isArray(value)) return [textOf(name, value)];
  return value.map((each) => textOf(name, each));
}

function tableOf(name: string, value: unknown): Table {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Error(`${name}: give a table`);
  return value as Table;
}
