// Proxies, by the environment's HTTP_PROXY, HTTPS_PROXY and NO_PROXY, as Go's programs read them. Registries on this machine are never asked through one.
import { type RequestOptions, request } from "node:http";
import type { Duplex } from "node:stream";
import { type SecureContext, connect as tlsConnect } from "node:tls";
import { isLoopback } from "./hosts.ts";

/** undefined for none. Throws for one that is no http URL. */
export function proxyFor(url: URL): URL | undefined {
  const { env } = process;
  const isSecure = url.protocol === "https:";
  const text = isSecure ? (env.HTTPS_PROXY ?? env.https_proxy) : (env.HTTP_PROXY ?? env.http_proxy);
  if (text === undefined || text === "" || isLoopback(url.host) || isExcluded(url)) return undefined;
  const proxy = new URL(text.includes("://") ? text : `http://${text}`);
  if (proxy.protocol !== "http:")
    throw new Error(`${proxy.protocol}//${proxy.host}: only http proxies are known`);
  return proxy;
}

function isExcluded({ hostname, host }: URL): boolean {
  const list = process.env.NO_PROXY ?? process.env.no_proxy ?? "";
  return list
    .split(",")
    .map((entry) => entry.trim().toLowerCase())
    .some((entry) => {
      if (entry === "") return false;
      if (entry === "*" || entry === hostname || entry === host) return true;
      return hostname.endsWith(entry.startsWith(".") ? entry : `.${entry}`);
    });
}

/** The options of a request that goes through `proxy`; `tls` for one by TLS, which is spoken with the host itself. */
export function throughProxy(
  proxy: URL,
  url: URL,
  tls: { rejectUnauthorized: boolean; secureContext: SecureContext } | undefined,
): RequestOptions {
  const authorization =
    proxy.username === ""
      ? {}
      : {
          "proxy-authorization": `Basic ${Buffer.from(
            `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`,
          ).toString("base64")}`,
        };
  const target = `${url.hostname}:${url.port === "" ? (tls === undefined ? 80 : 443) : url.port}`;
  return {
    agent: false,
    createConnection(_options, connected): undefined {
      const tunnel = request({
        host: proxy.hostname,
        port: proxy.port === "" ? 80 : proxy.port,
        method: "CONNECT",
        path: target,
        headers: { host: target, ...authorization },
      });
      tunnel.once("error", (error) => connected(error, undefined as unknown as Duplex));
      tunnel.once("connect", (answer, socket) => {
        if (answer.statusCode !== 200)
          return connected(
            new Error(`proxy ${proxy.host} answers with ${answer.statusCode}`),
            undefined as unknown as Duplex,
          );
        if (tls === undefined) return connected(null, socket);
        const secure = tlsConnect({ socket, servername: url.hostname, ...tls });
        secure.once("secureConnect", () => connected(null, secure));
        secure.once("error", (error) => connected(error, undefined as unknown as Duplex));
        return undefined;
      });
      tunnel.end();
    },
  };
}
