// Figures for Prometheus. Counted by the servers and tasks.ts, served on request by daemon.ts.

import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { isAbsolute } from "node:path";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { Listener } from "../platform/platform.ts";
import { claimSocket } from "./claim-socket.ts";

/** In seconds. */
const CALL_BUCKETS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10];
const MAX_TOPICS = 100;

export class Metrics {
  readonly #registry = new Registry();
  readonly #calls: Histogram;
  readonly #events: Counter;
  readonly #shimStarts: Counter;
  readonly #topics = new Set<string>();

  constructor() {
    const registers = [this.#registry];
    this.#calls = new Histogram({
      name: "holdfast_call_seconds",
      help: "Time that calls of the gRPC API took",
      labelNames: ["service", "method", "code"],
      buckets: CALL_BUCKETS,
      registers,
    });
    this.#events = new Counter({
      name: "holdfast_events_total",
      help: "Events told",
      labelNames: ["topic"],
      registers,
    });
    this.#shimStarts = new Counter({
      name: "holdfast_shim_starts_total",
      help: "Shims started",
      labelNames: ["result"],
      registers,
    });
  }

  observeCall(service: string, method: string, code: string, seconds: number): void {
    this.#calls.observe({ service, method, code }, seconds);
  }

  /** Clients may publish whatever they call it: what comes after the first hundred topics is counted together. */
  countEvent(topic: string): void {
    if (this.#topics.size < MAX_TOPICS) this.#topics.add(topic);
    this.#events.inc({ topic: this.#topics.has(topic) ? topic : "other" });
  }

  countShimStart(isGood: boolean): void {
    this.#shimStarts.inc({ result: isGood ? "ok" : "failed" });
  }

  /** `namespaces` has one entry for each task. */
  trackTasks(namespaces: () => Iterable<string>): void {
    new Gauge({
      name: "holdfast_tasks",
      help: "Tasks that have a shim",
      labelNames: ["namespace"],
      registers: [this.#registry],
      collect() {
        this.reset();
        for (const namespace of namespaces()) this.inc({ namespace });
      },
    });
  }

  /**
   * Serves GET /metrics at "host:port" or the path of a unix socket; from then on the process is measured too. To be called once. `warn` is told if other
   * machines can read it. Rejects with the address if it cannot be had.
   */
  async serve(address: string, warn: (text: string) => void): Promise<Listener> {
    const server = createServer((request, response) => void this.#answer(request, response));
    try {
      if (isAbsolute(address)) await claimSocket(address);
      server.listen(isAbsolute(address) ? { path: address } : parseHostPort(address));
      await once(server, "listening");
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      throw new Error(`cannot serve metrics at ${address}: ${text}`, { cause: error });
    }
    collectDefaultMetrics({ register: this.#registry, prefix: "holdfast_" });
    const place = server.address();
    if (typeof place === "object" && place !== null && !isLoopback(place.address))
      warn(`metrics at ${address} can be read from other machines, by anybody: there is no authentication`);
    return {
      close() {
        server.close();
        server.closeAllConnections();
      },
    };
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url?.split("?")[0] !== "/metrics") {
      response.writeHead(404).end("GET /metrics\n");
    } else if (request.method !== "GET") {
      response.writeHead(405, { allow: "GET" }).end("GET /metrics\n");
    } else {
      try {
        const text = await this.#registry.metrics();
        response.writeHead(200, { "content-type": this.#registry.contentType }).end(text);
      } catch (error) {
        response.writeHead(500).end(`${error instanceof Error ? error.message : error}\n`);
      }
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
