// Which proxy a request goes through, by the environment's HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, as Go's programs read them (golang.org/x/net's
// http/httpproxy). Registries on this machine are never asked through one. tunnel.ts has the way through it.
import { BlockList, isIP } from "node:net";

const SCHEMES = ["http:", "https:", "socks5:", "socks5h:"];
export const DEFAULT_PORTS: Readonly<Record<string, number>> = { "http:": 80, "https:": 443 };

const SOCKS_PORT = 1080;

/** undefined for none. Throws for one that is no URL of a proxy of a known kind. */
export function proxyFor(url: URL): URL | undefined {
  const own = url.protocol === "https:" ? setting("HTTPS_PROXY") : setting("HTTP_PROXY");
  const text = own === "" ? setting("ALL_PROXY") : own;
  if (text === "" || isOurs(url) || isExcluded(url)) return undefined;
  const proxy = parse(text);
  if (proxy !== undefined && SCHEMES.includes(proxy.protocol)) return proxy;
  // A password may stand in it.
  const shown = text.replace(/\/\/[^/@]*@/, "//***@");
  throw new Error(`proxy ${shown}: no URL of an http, https or socks5 proxy`);
}

/** Capitals go before small letters. */
function setting(name: string): string {
  return process.env[name] || process.env[name.toLowerCase()] || "";
}

function parse(text: string): URL | undefined {
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  return URL.canParse(full) ? new URL(full) : undefined;
}

/** The port of a URL, or its scheme's. */
export function portOf({ port, protocol }: URL): number {
  return port === "" ? (DEFAULT_PORTS[protocol] ?? SOCKS_PORT) : Number(port);
}

/** Without the brackets of an address of IPv6, and the dot that may end a name. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
}

function isOurs(url: URL): boolean {
  const host = hostOf(url);
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

function isExcluded(url: URL): boolean {
  return setting("NO_PROXY")
    .split(",")
    .map((entry) => entry.trim().toLowerCase())
    .some((entry) => entry !== "" && excludes(entry, hostOf(url), portOf(url)));
}

/** An entry is *, an address, a block of them, a name (and what is below it), or .name (only what is below it); :port may follow. */
function excludes(entry: string, host: string, port: number): boolean {
  if (entry === "*") return true;
  if (entry.includes("/")) return isInBlock(entry, host);
  const [, name = entry, only] = /^(.*?):(\d+)$/.exec(isIP(entry) === 6 ? "" : entry) ?? [];
  if (only !== undefined && Number(only) !== port) return false;
  const plain = name.replace(/^\[(.*)\]$/, "$1");
  if (isIP(plain) !== 0 || isIP(host) !== 0) return isSameAddress(plain, host);
  const below = plain.replace(/^\*?\./, "");
  return host.endsWith(`.${below}`) || (below === plain && host === plain);
}

function isInBlock(entry: string, host: string): boolean {
  const [address = "", prefix = ""] = entry.split("/");
  if (isIP(address) === 0 || isIP(host) === 0 || !/^\d{1,3}$/.test(prefix)) return false;
  const family = (text: string): "ipv4" | "ipv6" => (isIP(text) === 4 ? "ipv4" : "ipv6");
  try {
    const block = new BlockList();
    block.addSubnet(address, Number(prefix), family(address));
    return block.check(host, family(host));
  } catch {
    return false;
  }
}

function isSameAddress(a: string, b: string): boolean {
  return isIP(a) !== 0 && isIP(b) !== 0 && isInBlock(`${a}/${isIP(a) === 4 ? 32 : 128}`, b);
}
