// What a registry gives: the descriptor that a reference stands for, manifests, and blobs from any byte on (the distribution specification, "Pull").
import { createHash } from "node:crypto";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { type HttpAnswer, readBody } from "./connections.ts";
import {
  ACCEPTED_MANIFESTS,
  type Descriptor,
  demandManifestType,
  isManifestType,
  MAX_MANIFEST,
} from "./descriptor.ts";
import { connectionError, lie, RegistryError } from "./failure.ts";
import type { RegistryHost } from "./hosts.ts";
import { DIGEST } from "./reference.ts";
import { type RegistrySession, shown } from "./session.ts";

/** Where a blob goes. */
export interface BlobSink {
  /** How much of it is there. */
  readonly offset: number;
  write(bytes: Uint8Array): Promise<void>;
  /** Forgets what is there. */
  restart(): Promise<void>;
}

export class Pulls {
  readonly #session: RegistrySession;
  readonly #scopes: readonly string[];

  constructor(session: RegistrySession) {
    this.#session = session;
    this.#scopes = [`repository:${session.reference.repository}:pull`];
  }

  /** What the reference stands for. Its size and type are the registry's word, until the manifest is there. Rejects with NOT_FOUND. */
  resolve(): Promise<Descriptor> {
    const { tag, digest } = this.#session.reference;
    const name = digest ?? tag ?? "";
    const capability = digest === undefined ? "resolve" : "pull";
    return this.#session.withHost(capability, none, (host) => this.#resolve(host, name));
  }

  async #resolve(host: RegistryHost, name: string): Promise<Descriptor> {
    const path = `/manifests/${name}`;
    const head = await this.#get(host, path, { accept: ACCEPTED_MANIFESTS }, "HEAD");
    head.resume();
    const said = head.statusCode === 200 ? head.headers["docker-content-digest"] : undefined;
    // An error has its words in the answer to a GET alone; and not every registry knows HEAD, or says the digest.
    if (typeof said !== "string" || !DIGEST.test(said) || head.headers["content-length"] === undefined)
      return this.#resolveByBody(host, path, name);
    return this.#resolved(host, name, head, said, Number(head.headers["content-length"]));
  }

  async #resolveByBody(host: RegistryHost, path: string, name: string): Promise<Descriptor> {
    const what = this.#what(host, path);
    const answer = await this.#get(host, path, { accept: ACCEPTED_MANIFESTS });
    if (answer.statusCode !== 200) return this.#session.refuse(what, answer);
    const body = await readBody(what, answer, MAX_MANIFEST);
    answer.destroy();
    const digest = `sha256:${createHash("sha256").update(body).digest("hex")}`;
    const said = answer.headers["docker-content-digest"];
    if (typeof said === "string" && DIGEST.test(said) && said !== digest && body.length <= MAX_MANIFEST)
      throw lie(`${what}: it is said to be ${said}, and is ${digest}`);
    return this.#resolved(host, name, answer, digest, body.length);
  }

  #resolved(host: RegistryHost, name: string, answer: HttpAnswer, digest: string, size: number): Descriptor {
    const what = this.#what(host, `/manifests/${name}`);
    const mediaType = (answer.headers["content-type"] ?? "").split(";")[0]?.trim() ?? "";
    this.#demandImage(what, mediaType);
    if (!Number.isSafeInteger(size) || size <= 0 || size > MAX_MANIFEST) throw tooLarge(what, size);
    if (name.includes(":") && name !== digest) throw lie(`${what}: the answer is ${digest}`);
    return { mediaType, digest, size };
  }

  /**
   * Brings what is missing of a blob into `sink`; whether it has the right digest, the sink must know. Returns the hosts that have given some of it, the
   * last one at least. Rejects if no host gives as much as the descriptor says.
   */
  async fetch(descriptor: Descriptor, sink: BlobSink): Promise<readonly RegistryHost[]> {
    const progress = (): number => sink.offset;
    const givers = new Set<RegistryHost>();
    const last = await this.#session.withHost("pull", progress, async (host) => {
      const before = sink.offset;
      try {
        await this.#fetch(host, descriptor, sink);
      } catch (error) {
        if (!(error instanceof RegistryError) || !error.isLie) throw error;
        await sink.restart();
        givers.clear();
        throw error;
      } finally {
        if (sink.offset > before) givers.add(host);
      }
      return host;
    });
    return givers.size === 0 ? [last] : [...givers];
  }

  /** Says that what a host gave of a blob has another digest. It is asked no more. */
  distrust(host: RegistryHost, { digest }: Descriptor, cause: unknown): void {
    const text = cause instanceof TtrpcError ? cause.rawMessage : String(cause);
    const why = text.replace(/: failed precondition$/, "");
    this.#session.distrust(host, lie(`${host.host} gives something else for ${digest}: ${why}`, cause));
  }

  async #fetch(host: RegistryHost, descriptor: Descriptor, sink: BlobSink): Promise<void> {
    const { digest, size, mediaType } = descriptor;
    if (sink.offset > size) await sink.restart();
    if (sink.offset === size && size > 0) return;
    const isOurs = isManifestType(mediaType);
    const path = `/${isOurs ? "manifests" : "blobs"}/${digest}`;
    const accept = isOurs ? mediaType : "*/*";
    const start = sink.offset;
    const what = this.#what(host, path);
    const answer = await this.#get(host, path, { accept, ...(start > 0 && { range: `bytes=${start}-` }) });
    try {
      if (answer.statusCode === 416 && start > 0) {
        await sink.restart();
        throw new RegistryError(Code.UNAVAILABLE, `${what}: it has less than we have`, "again");
      }
      if (answer.statusCode !== 200 && answer.statusCode !== 206)
        return await this.#session.refuse(what, answer);
      const from = answer.statusCode === 206 ? rangeStart(answer) : 0;
      const length = Number(answer.headers["content-length"] ?? Number.NaN);
      if (from > start)
        throw lie(`${what}: asked for what follows byte ${start}, it gives what follows ${from}`);
      if (!Number.isNaN(length) && from + length !== size)
        throw lie(`${what}: it has ${from + length} bytes, and should have ${size}`);
      await receive(what, answer, sink, { from, size });
    } finally {
      answer.destroy();
    }
  }

  /** What is no image here may be one elsewhere: a portal in the way answers everything with a page. */
  #demandImage(what: string, mediaType: string): void {
    try {
      demandManifestType(what, mediaType);
    } catch (error) {
      const { code, rawMessage } = TtrpcError.from(error);
      throw new RegistryError(code, rawMessage, "elsewhere", { cause: error });
    }
  }

  #get(
    host: RegistryHost,
    path: string,
    headers: Record<string, string>,
    method = "GET",
  ): Promise<HttpAnswer> {
    return this.#session.ask(host, { method, path, headers, scopes: this.#scopes });
  }

  #what(host: RegistryHost, path: string): string {
    return shown(
      new URL(`${host.scheme}://${host.host}${host.path}/${this.#session.reference.repository}${path}`),
    );
  }
}

const none = (): number => 0;

function tooLarge(what: string, size: number): RegistryError {
  const text = `${what}: a manifest of ${size} bytes; from 1 to ${MAX_MANIFEST} are taken`;
  return lie(text);
}

/** Where a part begins. What says nothing of that is not taken. */
function rangeStart(answer: HttpAnswer): number {
  const found = /^bytes (\d+)-/.exec(answer.headers["content-range"] ?? "")?.[1];
  return found === undefined ? Number.POSITIVE_INFINITY : Number(found);
}

/** Reads a body that begins at byte `from` of the blob, and passes on what is missing. */
async function receive(
  what: string,
  answer: HttpAnswer,
  sink: BlobSink,
  { from, size }: { from: number; size: number },
): Promise<void> {
  let at = from;
  const chunks = answer[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  for (;;) {
    const next = await chunks.next().catch((error: unknown) => {
      throw connectionError(what, error);
    });
    if (next.done === true) break;
    const chunk = next.value;
    if (at + chunk.length > size)
      throw lie(`${what}: it has more than the ${size} bytes that it should have`);
    const missing = chunk.subarray(Math.max(0, sink.offset - at));
    at += chunk.length;
    if (missing.length > 0) await sink.write(missing);
  }
  if (at < size) throw connectionError(what, new Error(`it ended after ${at} of ${size} bytes`));
}
