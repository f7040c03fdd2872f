// Figures for Prometheus. Counted by the servers and tasks.ts, served on request by daemon.ts.

import { rmSync } from "node:fs";
import { createServer } from "node:http";
import { isAbsolute } from "node:path";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { Listener } from "../platform/platform.ts";

const CALL_BUCKETS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10];

export class Metrics {
  readonly #registry = new Registry();
  readonly #calls: Histogram;
  readonly #events: Counter;
  readonly #shimStarts: Counter;

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

  countEvent(topic: string): void {
    this.#events.inc({ topic });
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

  /** Serves GET /metrics at host:port or a unix socket; from then on the process is measured too. */
  serve(address: string): Promise<Listener> {
    collectDefaultMetrics({ register: this.#registry, prefix: "holdfast_" });
    const server = createServer((request, response) => {
      if (request.method !== "GET" || request.url !== "/metrics") {
        response.writeHead(404).end("GET /metrics\n");
        return;
      }
      this.#registry.metrics().then(
        (text) => response.writeHead(200, { "content-type": this.#registry.contentType }).end(text),
        (error: unknown) => response.writeHead(500).end(String(error)),
      );
    });
    return new Promise((resolve, reject) => {
      server.once("error", (error) =>
        reject(new Error(`cannot serve metrics at ${address}: ${error.message}`, { cause: error })),
      );
      server.once("listening", () => resolve({ close: () => void server.close() }));
      if (isAbsolute(address)) {
        rmSync(address, { force: true });
        server.listen(address);
      } else {
        const colon = address.lastIndexOf(":");
        server.listen(Number(address.slice(colon + 1)), address.slice(0, colon));
      }
    });
  }
}
