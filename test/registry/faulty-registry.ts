// A registry that does what no real one can be made to do: it serves images from memory, and goes wrong where a test says so.
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Blob, TestImage } from "./image.ts";
import { LoopbackServer } from "./loopback-server.ts";

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
}

/** Answers in the registry's place, and returns true; `body` is what it would have answered with. */
export type Fault = (request: SeenRequest, response: ServerResponse, body: Buffer | undefined) => boolean;

export class FaultyRegistry extends LoopbackServer {
  readonly #blobs = new Map<string, Blob>();
  /** Manifests under names too. */
  readonly #names = new Map<string, Blob>();
  #offered = 0;
  readonly seen: SeenRequest[] = [];
  /** What goes wrong. */
  fault: Fault = () => false;

  private constructor() {
    super((request, response) => this.#answer(request, response));
  }

  static async start(): Promise<FaultyRegistry> {
    const registry = new FaultyRegistry();
    await registry.listen();
    return registry;
  }

  add(name: string, image: TestImage): void {
    for (const blob of [image.manifest, image.config, ...image.layers]) this.#blobs.set(blob.digest, blob);
    this.#names.set(name, image.manifest);
  }

  /** Has it under a name that no other image has; `large` is the layer of which makeImage() was told. */
  offer(image: TestImage): { name: string; large: string } {
    const tag = `v${++this.#offered}`;
    this.add(tag, image);
    return { name: `${this.host}/app:${tag}`, large: image.layers[1]?.digest ?? "" };
  }

  /** What was asked of it. */
  asked(pattern: RegExp): SeenRequest[] {
    return this.seen.filter(({ method, path }) => pattern.test(`${method} ${path}`));
  }

  /** As if nothing had been. */
  reset(): void {
    this.seen.splice(0);
    this.fault = () => false;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { method = "", url: path = "", headers } = request;
    request.resume();
    response.on("error", () => {});
    const seen = { method, path, headers };
    this.seen.push(seen);
    const [, kind = "", name = ""] = /\/(manifests|blobs)\/([^?/]+)/.exec(path) ?? [];
    const blob =
      kind === "manifests" ? (this.#names.get(name) ?? this.#blobs.get(name)) : this.#blobs.get(name);
    if (this.fault(seen, response, blob?.bytes)) return;
    if (blob === undefined) {
      response.writeHead(404, { "content-type": "application/json" });
      response.end('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}');
      return;
    }
    const start = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? 0);
    const part = blob.bytes.subarray(start);
    response.writeHead(start > 0 ? 206 : 200, {
      "content-type": kind === "manifests" ? blob.mediaType : "application/octet-stream",
      "content-length": part.length,
      "docker-content-digest": blob.digest,
      ...(start > 0 && { "content-range": `bytes ${start}-${blob.size - 1}/${blob.size}` }),
    });
    if (method === "HEAD") response.end();
    else response.end(part);
  }
}
