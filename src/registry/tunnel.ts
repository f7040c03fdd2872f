// The way through a proxy: a connection to the registry that the proxy makes (CONNECT, or SOCKS 5: RFC 1928 and 1929), or the request as a whole handed to it.
import { request as plainRequest, type RequestOptions } from "node:http";
import { request as tlsRequest } from "node:https";
import { connect, isIP, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type ConnectionOptions, connect as tlsConnect } from "node:tls";
import { DEFAULT_PORTS, hostOf, portOf } from "./proxy.ts";

const DIAL_TIMEOUT_MS = 30_000;
const SOCKS = 5;
const SOCKS_FAULTS: readonly string[] = [
  "",
  "it failed",
  "it does not allow that",
  "network unreachable",
  "host unreachable",
  "connection refused",
  "it took too long",
  "it cannot connect",
  "it knows no such addresses",
];

/** How TLS is spoken: with the registry, undefined for one that is asked without, and with a proxy that is asked by it. */
export interface TlsMeans {
  readonly registry: ConnectionOptions | undefined;
  readonly proxy: ConnectionOptions;
}

/** The options that send a request for `url` through `proxy`; with an agent, `false` too, Node would make the connection itself. */
export function throughProxy(proxy: URL, url: URL, tls: TlsMeans): RequestOptions {
  if (tls.registry !== undefined || isSocks(proxy))
    // The port is what an agent would know.
    return { defaultPort: DEFAULT_PORTS[url.protocol] ?? 80, ...connectedBy(() => tunnel(proxy, url, tls)) };
  // Without TLS the proxy reads the request itself: many allow no tunnel to such a port.
  const { href } = new URL(url.pathname + url.search, url.origin);
  return { defaultPort: 80, path: href, ...connectedBy(() => toProxy(proxy, tls)) };
}

function connectedBy(connect: () => Promise<Duplex>): Pick<RequestOptions, "createConnection"> {
  return {
    createConnection(_options, connected): undefined {
      connect().then(
        (socket) => connected(null, socket),
        (error: Error) => connected(error, undefined as unknown as Duplex),
      );
    },
  };
}

const isSocks = ({ protocol }: URL): boolean => protocol.startsWith("socks5");

/** What a proxy that takes requests wants to see with each. */
export function proxyHeaders(proxy: URL, url: URL): Readonly<Record<string, string>> {
  return url.protocol === "http:" && !isSocks(proxy) ? authorization(proxy) : {};
}

function authorization(proxy: URL): Readonly<Record<string, string>> {
  const { name, password } = userOf(proxy);
  if (name === "") return {};
  return { "proxy-authorization": `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}` };
}

function userOf({ username, password }: URL): { name: string; password: string } {
  return { name: decodeURIComponent(username), password: decodeURIComponent(password) };
}

async function tunnel(proxy: URL, url: URL, tls: TlsMeans): Promise<Duplex> {
  const socket = await (isSocks(proxy) ? bySocks(proxy, url) : byConnect(proxy, url, tls));
  if (tls.registry === undefined) return socket;
  return secured({ socket, ...serverName(url), ...tls.registry });
}

/** Addresses are no names: they are sent none. */
function serverName(url: URL): { servername?: string } {
  return isIP(hostOf(url)) === 0 ? { servername: hostOf(url) } : {};
}

function secured(options: ConnectionOptions): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const secure = bounded(tlsConnect(options));
    secure.once("secureConnect", () => resolve(unbounded(secure)));
    secure.once("error", reject);
  });
}

async function toProxy(proxy: URL, tls: TlsMeans): Promise<Duplex> {
  const place = { host: hostOf(proxy), port: portOf(proxy) };
  if (proxy.protocol === "https:") return secured({ ...place, ...serverName(proxy), ...tls.proxy });
  return unbounded(await dialled(place));
}

/** It has to answer in time until unbounded() is called. */
function dialled(place: { host: string; port: number }): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = bounded(connect(place));
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(socket);
    });
    socket.once("error", reject);
  });
}

function bounded<S extends Socket>(socket: S): S {
  socket.setTimeout(DIAL_TIMEOUT_MS, () => socket.destroy(new Error("it does not answer in time")));
  return socket;
}

function unbounded<S extends Socket>(socket: S): S {
  socket.setTimeout(0);
  socket.removeAllListeners("timeout");
  return socket;
}

function byConnect(proxy: URL, url: URL, tls: TlsMeans): Promise<Duplex> {
  const target = `${url.hostname}:${portOf(url)}`;
  const ask = proxy.protocol === "https:" ? tlsRequest : plainRequest;
  return new Promise((resolve, reject) => {
    const call = ask({
      ...(proxy.protocol === "https:" && { ...serverName(proxy), ...tls.proxy }),
      agent: false,
      host: hostOf(proxy),
      port: portOf(proxy),
      method: "CONNECT",
      path: target,
      headers: { host: target, ...authorization(proxy) },
      timeout: DIAL_TIMEOUT_MS,
    });
    call.once("timeout", () => call.destroy(new Error("the proxy does not answer in time")));
    call.once("error", reject);
    // One that answers as a server does has not understood.
    call.once("response", (answer) => {
      answer.destroy();
      reject(new Error(`proxy ${proxy.host} answers with ${answer.statusCode}`));
    });
    call.once("connect", (answer, socket) => {
      if (answer.statusCode === 200) return resolve(unbounded(socket));
      socket.destroy();
      return reject(new Error(`proxy ${proxy.host} answers with ${answer.statusCode}`));
    });
    call.end();
  });
}

/** Names are resolved by the proxy, which may see others than we do. */
async function bySocks(proxy: URL, url: URL): Promise<Duplex> {
  const socket = await dialled({ host: hostOf(proxy), port: portOf(proxy) });
  try {
    const reader = new Reader(socket);
    await greet(socket, reader, proxy);
    const port = Buffer.alloc(2);
    port.writeUInt16BE(portOf(url));
    socket.write(Buffer.concat([Buffer.from([SOCKS, 1, 0]), socksAddress(hostOf(url)), port]));
    const [, status = 1, , kind] = await reader.take(4);
    if (status !== 0) throw new Error(`proxy ${proxy.host}: ${SOCKS_FAULTS[status] ?? `fault ${status}`}`);
    const length = kind === 1 ? 4 : kind === 4 ? 16 : ((await reader.take(1))[0] ?? 0);
    await reader.take(length + port.length);
    reader.end();
    return unbounded(socket);
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

async function greet(socket: Socket, reader: Reader, proxy: URL): Promise<void> {
  const { name, password } = userOf(proxy);
  const methods = name === "" ? [0] : [0, 2];
  socket.write(Buffer.from([SOCKS, methods.length, ...methods]));
  const [version, method] = await reader.take(2);
  if (version !== SOCKS) throw new Error(`proxy ${proxy.host}: it speaks no SOCKS 5`);
  if (method === 0) return;
  if (method !== 2) throw new Error(`proxy ${proxy.host}: it wants to know who we are`);
  const [user, secret] = [Buffer.from(name), Buffer.from(password)];
  const parts = [[1, user.length], user, [secret.length], secret].map((part) => Buffer.from(part));
  socket.write(Buffer.concat(parts));
  const [, status] = await reader.take(2);
  if (status !== 0) throw new Error(`proxy ${proxy.host}: wrong user or password`);
}

function socksAddress(host: string): Buffer {
  if (isIP(host) === 4) return Buffer.from([1, ...host.split(".").map(Number)]);
  if (isIP(host) === 6) return Buffer.concat([Buffer.from([4]), addressBytes(host)]);
  const name = Buffer.from(host);
  return Buffer.concat([Buffer.from([3, name.length]), name]);
}

/** Of an address of IPv6 as URLs have it: all in hexadecimal. */
function addressBytes(host: string): Buffer {
  const [left = [], right = []] = host
    .split("::")
    .map((half) => (half === "" ? [] : half.split(":").map((word) => Number.parseInt(word, 16))));
  const words = [...left, ...Array.from({ length: 8 - left.length - right.length }, () => 0), ...right];
  return Buffer.from(Uint16Array.from(words).buffer).swap16();
}

/** So many bytes of a socket after each other; the rest stays in it. */
class Reader {
  readonly #socket: Socket;
  #failed: (error: Error) => void = () => {};
  #readable: () => void = () => {};

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("readable", this.#onReadable);
    socket.on("error", this.#onFailed);
    socket.on("end", this.#onEnd);
  }

  readonly #onReadable = (): void => this.#readable();
  readonly #onFailed = (error: Error): void => this.#failed(error);
  readonly #onEnd = (): void => this.#failed(new Error("the proxy has hung up"));

  async take(length: number): Promise<Buffer> {
    for (;;) {
      const bytes = this.#socket.read(length) as Buffer | null;
      if (bytes !== null && bytes.length === length) return bytes;
      await new Promise<void>((resolve, reject) => {
        this.#readable = resolve;
        this.#failed = reject;
      });
    }
  }

  end(): void {
    this.#socket.off("readable", this.#onReadable);
    this.#socket.off("error", this.#onFailed);
    this.#socket.off("end", this.#onEnd);
  }
}
