// What a registry takes: blobs, unless it has them, or has them in another repository; then the manifests that name them (the distribution specification,
// "Push"). An upload that breaks off goes on where the registry has it.
import { Code } from "../ttrpc/status.ts";
import { type HttpAnswer, readBody } from "./connections.ts";
import { type Descriptor, isManifestType } from "./descriptor.ts";
import { connectionError, lie, RegistryError } from "./failure.ts";
import type { RegistryHost } from "./hosts.ts";
import { persistently } from "./retry.ts";
import { type RegistrySession, shown } from "./session.ts";

/** A blob's bytes from one on. */
export type BlobSource = (offset: number) => AsyncIterable<Uint8Array>;

export interface Upload {
  readonly descriptor: Descriptor;
  readonly source: BlobSource;
  /** A repository of the same registry that may have it. */
  readonly mountFrom: string | undefined;
  /** Told how much has been sent. */
  readonly sent: (offset: number) => void;
}

const MAX_ANSWER = 64 * 1024;

export class Pushes {
  readonly #session: RegistrySession;
  readonly #host: RegistryHost;
  readonly #scopes: readonly string[];

  /** Throws FAILED_PRECONDITION if no host may be pushed to. */
  constructor(session: RegistrySession) {
    this.#session = session;
    const [host] = session.hostsFor("push");
    if (host === undefined) throw new Error("hostsFor gives at least one");
    this.#host = host;
    this.#scopes = [`repository:${session.reference.repository}:pull,push`];
  }

  /** Whether the repository has it. */
  exists({ digest, mediaType }: Descriptor): Promise<boolean> {
    const path = `/${isManifestType(mediaType) ? "manifests" : "blobs"}/${digest}`;
    return this.#persist(async () => {
      const answer = await this.#ask({ method: "HEAD", path, headers: { accept: mediaType } });
      answer.resume();
      if (answer.statusCode === 200) return true;
      if (answer.statusCode === 404) return false;
      return this.#session.refuse(`HEAD ${path}`, answer);
    });
  }

  /** "mounted" if nothing had to be sent. */
  async upload(upload: Upload): Promise<"sent" | "mounted"> {
    const { mountFrom, descriptor } = upload;
    const begun = mountFrom === undefined ? undefined : await this.#mount(descriptor.digest, mountFrom);
    if (begun === "mounted") return "mounted";
    let place = begun;
    let offset = 0;
    let isFirst = true;
    await persistently(
      this.#session.signal,
      () => offset,
      async () => {
        if (place !== undefined && !isFirst) ({ place, offset } = await this.#where(place));
        isFirst = false;
        place ??= await this.#begin("");
        if (offset === 0) await this.#put(place, upload, 0);
        else {
          place = await this.#patch(place, upload, offset);
          await this.#put(place, upload, descriptor.size);
        }
      },
    );
    return "sent";
  }

  /** Where to send it, if the registry does not give it and has begun an upload in its place. */
  async #mount(digest: string, from: string): Promise<"mounted" | URL | undefined> {
    const query = `?mount=${encodeURIComponent(digest)}&from=${encodeURIComponent(from)}`;
    const scopes = [...this.#scopes, `repository:${from}:pull`];
    try {
      const answer = await this.#ask({
        method: "POST",
        path: `/blobs/uploads/${query}`,
        headers: EMPTY,
        scopes,
      });
      if (answer.statusCode === 202) return this.#placeOf(answer);
      await readBody("mount", answer, MAX_ANSWER);
      return answer.statusCode === 201 ? "mounted" : undefined;
    } catch (error) {
      // Whoever may not read there sends it.
      if (error instanceof RegistryError && error.code === Code.UNAUTHENTICATED) return undefined;
      throw error;
    }
  }

  async #begin(query: string): Promise<URL> {
    const answer = await this.#ask({ method: "POST", path: `/blobs/uploads/${query}`, headers: EMPTY });
    if (answer.statusCode !== 202)
      return this.#session.refuse(`POST ${this.#repository}/blobs/uploads/`, answer);
    return this.#placeOf(answer);
  }

  /** The whole of it, or with `offset` at its end nothing but the word that it is complete. */
  async #put(place: URL, { descriptor, source, sent }: Upload, offset: number): Promise<void> {
    const { digest, size } = descriptor;
    const path = new URL(place);
    path.searchParams.set("digest", digest);
    const headers = {
      "content-type": "application/octet-stream",
      "content-length": String(size - offset),
    };
    const body = offset === size ? undefined : () => counted(source(offset), offset, sent);
    const answer = await this.#ask({ method: "PUT", path, headers, body });
    if (answer.statusCode !== 201) await this.#session.refuse(`PUT ${shown(path)}`, answer);
    await readBody("upload", answer, MAX_ANSWER);
  }

  /** What follows `offset`. */
  async #patch(place: URL, { descriptor, source, sent }: Upload, offset: number): Promise<URL> {
    const { size } = descriptor;
    const headers = {
      "content-type": "application/octet-stream",
      "content-length": String(size - offset),
      "content-range": `${offset}-${size - 1}`,
    };
    const body = (): AsyncIterable<Uint8Array> => counted(source(offset), offset, sent);
    const answer = await this.#ask({ method: "PATCH", path: place, headers, body });
    if (answer.statusCode !== 202) return this.#session.refuse(`PATCH ${shown(place)}`, answer);
    return this.#placeOf(answer);
  }

  /** How much of an upload that broke off the registry has; a place that it does not know any more is none. */
  async #where(place: URL): Promise<{ place: URL | undefined; offset: number }> {
    const answer = await this.#ask({ method: "GET", path: place });
    answer.resume();
    if (answer.statusCode !== 204) return { place: undefined, offset: 0 };
    const last = /^(?:bytes=)?0-(\d+)$/.exec(String(answer.headers.range ?? ""))?.[1];
    // "0-0" is of nothing, or of one byte: anew.
    const offset = last === undefined || last === "0" ? 0 : Number(last) + 1;
    return offset === 0 ? { place: undefined, offset } : { place: this.#placeOf(answer), offset };
  }

  /** Under a tag or a digest. */
  async manifest({ digest, mediaType }: Descriptor, bytes: Buffer, name: string): Promise<void> {
    const path = `/manifests/${name}`;
    await this.#persist(async () => {
      const headers = { "content-type": mediaType, "content-length": String(bytes.length) };
      const answer = await this.#ask({ method: "PUT", path, headers, body: () => bytes });
      const what = `PUT ${this.#repository}${path}`;
      if (answer.statusCode !== 201 && answer.statusCode !== 200) await this.#session.refuse(what, answer);
      await readBody(what, answer, MAX_ANSWER);
      const said = answer.headers["docker-content-digest"];
      if (typeof said === "string" && said !== digest)
        throw lie(`${what}: the registry has made ${said} of ${digest}`);
    });
  }

  get #repository(): string {
    const { scheme, host, path } = this.#host;
    return `${scheme}://${host}${path}/${this.#session.reference.repository}`;
  }

  #placeOf(answer: HttpAnswer): URL {
    answer.resume();
    const { location } = answer.headers;
    if (location === undefined)
      throw connectionError(`${this.#repository}/blobs/uploads/`, new Error("an answer without a location"));
    return this.#session.addressOf(this.#host, location);
  }

  #persist<T>(act: () => Promise<T>): Promise<T> {
    return persistently(this.#session.signal, () => 0, act);
  }

  #ask(
    wanted: Omit<Parameters<RegistrySession["ask"]>[1], "scopes"> & { readonly scopes?: readonly string[] },
  ): Promise<HttpAnswer> {
    return this.#session.ask(this.#host, { scopes: this.#scopes, ...wanted });
  }
}

const EMPTY = { "content-length": "0" };

async function* counted(
  source: AsyncIterable<Uint8Array>,
  offset: number,
  sent: (offset: number) => void,
): AsyncGenerator<Uint8Array> {
  let at = offset;
  for await (const chunk of source) {
    yield chunk;
    at += chunk.length;
    sent(at);
  }
}
