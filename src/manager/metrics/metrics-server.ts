// Serves GET /metrics for Prometheus, at a port or a unix socket. Started by daemon.ts.
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { isAbsolute } from "node:path";
import type { Listener } from "../../platform/platform.ts";
import { claimSocket } from "../claim-socket.ts";
import { type ContainerFigures, containerFiguresText } from "./container-figures.ts";
import type { Metrics } from "./metrics.ts";

export interface MetricsSource {
  readonly metrics: Metrics;
  /** What each container uses, asked for when a request says ?containers=1. */
  readonly containers: () => Promise<readonly ContainerFigures[]>;
}

export interface MetricsListener extends Listener {
  /** undefined for a unix socket. */
  readonly port: number | undefined;
}

/**
 * Serves at "host:port" or the path of a unix socket. To be called once. `warn` hears of it if other machines can read it. Rejects with the address if
 * it cannot be had.
 */
export async function serveMetrics(
  source: MetricsSource,
  address: string,
  warn: (text: string) => void,
): Promise<MetricsListener> {
  const server = createServer((request, response) => void answer(source, request, response));
  try {
    if (isAbsolute(address)) await claimSocket(address);
    server.listen(isAbsolute(address) ? { path: address } : parseHostPort(address));
    await once(server, "listening");
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw new Error(`cannot serve metrics at ${address}: ${text}`, { cause: error });
  }
  source.metrics.measureProcess();
  const place = server.address();
  if (typeof place === "object" && place !== null && !isLoopback(place.address))
    warn(`metrics at ${address} can be read from other machines, by anybody: there is no authentication`);
  return {
    port: typeof place === "object" ? place?.port : undefined,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

async function answer(
  { metrics, containers }: MetricsSource,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const [path, query] = (request.url ?? "").split("?");
  if (path !== "/metrics") {
    response.writeHead(404).end("GET /metrics\n");
  } else if (request.method !== "GET" && request.method !== "HEAD") {
    response.writeHead(405, { allow: "GET, HEAD" }).end("GET /metrics\n");
  } else {
    try {
      const asked = new URLSearchParams(query).get("containers") === "1";
      const figures = asked ? await containerFiguresText(await containers()) : "";
      const text = await metrics.text();
      response.writeHead(200, { "content-type": metrics.contentType }).end(text + figures);
    } catch (error) {
      response.writeHead(500).end(`${error instanceof Error ? error.message : error}\n`);
    }
  }
}

/** IPv6 hosts stand in brackets. */
function parseHostPort(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
  return { host, port: Number(address.slice(colon + 1)) };
}

/** Whether only this machine reaches it. `address` is numeric, as the kernel tells it. */
export function isLoopback(address: string): boolean {
  return address === "::1" || /^(?:::ffff:)?127\./.test(address);
}
