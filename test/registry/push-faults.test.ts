// What registries do wrong while they are pushed to: an upload that breaks off goes on where they have it, or begins anew where they have forgotten it.
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { after, afterEach, before, test } from "node:test";
import { Cli } from "../cli/cli.ts";
import { Daemon } from "../harness/daemon.ts";
import { FaultyRegistry } from "./faulty-registry.ts";
import { digestOf, makeImage } from "./image.ts";
import { LoopbackServer } from "./loopback-server.ts";

const daemon = await Daemon.start({ kind: "holdfastd" });
const cli = new Cli(daemon);
const image = makeImage({ layers: [4_000_000] });
const large = image.layers[1]?.digest ?? "";
let from: FaultyRegistry;
let to: UploadRegistry;
let name: string;
before(async () => {
  from = await FaultyRegistry.start();
  to = await UploadRegistry.start();
  from.add("1", image);
  name = `${from.host}/app:1`;
  await cli.do(["pull", "-q", name]);
});
afterEach(() => to.reset());
after(async () => {
  cli.close();
  await from.close();
  await to.close();
  await daemon.close();
});

/** Takes images into memory, and goes wrong where a test says so. */
class UploadRegistry extends LoopbackServer {
  readonly #uploads = new Map<string, Buffer>();
  #begun = 0;
  readonly blobs = new Map<string, Buffer>();
  /** "METHOD path content-range" of each request. */
  readonly seen: string[] = [];
  /** How many uploads of more than two megabytes are cut after one. */
  cuts = 0;
  /** An upload that was cut is not known any more. */
  forgets = false;
  /** What it says of a manifest that it has taken; its digest, if left out. */
  says: string | undefined;
  /** Answers of 503 before anything goes well. */
  busy = 0;

  private constructor() {
    super((request, response) => void this.#answer(request, response));
  }

  static async start(): Promise<UploadRegistry> {
    const registry = new UploadRegistry();
    await registry.listen();
    return registry;
  }

  reset(): void {
    this.#uploads.clear();
    this.blobs.clear();
    this.seen.splice(0);
    Object.assign(this, { cuts: 0, forgets: false, says: undefined, busy: 0 });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", headers } = request;
    const url = new URL(request.url ?? "", "http://registry");
    this.seen.push([method, url.pathname, headers["content-range"] ?? ""].join(" ").trim());
    response.on("error", () => {});
    if (this.busy > 0) {
      this.busy--;
      request.resume();
      response.writeHead(503).end();
      return;
    }
    const upload = /\/blobs\/uploads\/(\d+)$/.exec(url.pathname)?.[1];
    if (method === "HEAD") response.writeHead(404).end();
    else if (method === "POST") this.#begin(request, response);
    else if (upload !== undefined) await this.#write(upload, url, request, response);
    else await this.#manifest(request, response);
  }

  #begin(request: IncomingMessage, response: ServerResponse): void {
    request.resume();
    const id = String(++this.#begun);
    this.#uploads.set(id, Buffer.alloc(0));
    response.writeHead(202, { location: `/v2/app/blobs/uploads/${id}` }).end();
  }

  async #write(id: string, url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const have = this.#uploads.get(id);
    if (have === undefined) {
      request.resume();
      response.writeHead(404).end();
      return;
    }
    if (request.method === "GET") {
      request.resume();
      response.writeHead(204, { range: `0-${have.length - 1}`, location: url.pathname }).end();
      return;
    }
    const { socket } = request;
    const cut = this.cuts > 0 && Number(request.headers["content-length"]) > 2_000_000;
    const parts: Buffer[] = [have];
    let size = 0;
    for await (const chunk of request as AsyncIterable<Buffer>) {
      parts.push(chunk);
      size += chunk.length;
      if (cut && size > 1_000_000) break;
    }
    const whole = Buffer.concat(parts);
    this.#uploads.set(id, whole);
    if (cut) {
      this.cuts--;
      if (this.forgets) this.#uploads.delete(id);
      socket.destroy();
      return;
    }
    const digest = url.searchParams.get("digest");
    if (digest === null) {
      response.writeHead(202, { location: url.pathname, range: `0-${whole.length - 1}` }).end();
      return;
    }
    const isRight = digestOf(whole) === digest;
    if (isRight) this.blobs.set(digest, whole);
    response.writeHead(isRight ? 201 : 400).end();
  }

  async #manifest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) parts.push(chunk);
    const bytes = Buffer.concat(parts);
    const digest = digestOf(bytes);
    this.blobs.set(digest, bytes);
    response.writeHead(201, { "docker-content-digest": this.says ?? digest }).end();
  }
}

const push = () => cli.run(["push", name, `${to.host}/app:1`]);
const requests = (pattern: RegExp): string[] => to.seen.filter((each) => pattern.test(each));
function isWhole(): void {
  for (const { digest, bytes } of [image.manifest, image.config, ...image.layers])
    assert.ok(to.blobs.get(digest)?.equals(bytes), digest);
}

test("an upload that is cut off goes on where the registry has it", async () => {
  to.cuts = 2;
  const output = await push();
  assert.equal(output.status, 0, output.stderr);
  isWhole();
  const patches = requests(/^PATCH/).map((each) => Number(/ (\d+)-\d+$/.exec(each)?.[1]));
  assert.equal(patches.length, 2);
  const [first = 0, second = 0] = patches;
  assert.ok(first > 1_000_000 && second > first, patches.join(", "));
  assert.equal(requests(/^POST/).length, 3);
});

test("an upload that the registry has forgotten begins anew", async () => {
  to.cuts = 1;
  to.forgets = true;
  const output = await push();
  assert.equal(output.status, 0, output.stderr);
  isWhole();
  assert.equal(requests(/^PATCH/).length, 0);
  assert.equal(requests(/^POST/).length, 4);
});

test("a registry that is cut off again and again without getting any further is given up", async () => {
  to.cuts = 99;
  to.forgets = true;
  const output = await push();
  assert.equal(output.status, 1);
  assert.match(output.stderr, /unavailable|EPIPE|ECONNRESET|broke off|socket hang up/);
  assert.equal(to.blobs.has(large), false);
  assert.equal(to.blobs.has(image.manifest.digest), false);
});

test("a registry that is busy is asked again; one that makes something else of a manifest is refused", async () => {
  to.busy = 2;
  const patient = await push();
  assert.equal(patient.status, 0, patient.stderr);
  isWhole();
  to.reset();
  to.says = `sha256:${"0".repeat(64)}`;
  const output = await push();
  assert.equal(output.status, 1);
  assert.match(output.stderr, /the registry has made sha256:0{64} of sha256:[0-9a-f]{64}/);
});
