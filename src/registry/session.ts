// Requests to the hosts of a registry, for one transfer: who we are, where a redirect leads, which host is asked when another fails. pulls.ts and
// pushes.ts are what it is used for.
import { VERSION } from "../api/version.ts";
import { Code } from "../ttrpc/status.ts";
import { Authorizer, type CredentialSource } from "./authorizer.ts";
import {
  Connections,
  type Headers,
  type HttpAnswer,
  type HttpRequest,
  readBody,
  speaksNoTls,
} from "./connections.ts";
import { answerError, RegistryError } from "./failure.ts";
import type { Capability, RegistryHost } from "./hosts.ts";
import type { Reference } from "./reference.ts";
import { persistently } from "./retry.ts";

const MAX_REDIRECTS = 10;
const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];
/** As much of an error's body as is read. */
const MAX_ERROR = 64 * 1024;

/** A path that is none of a repository: it tells whether a host takes us. */
export const API_ROOT = "//";

export interface SessionOptions {
  readonly hosts: readonly RegistryHost[];
  readonly credentials: CredentialSource;
  /** The client's own, for every request. */
  readonly headers: Readonly<Record<string, string>>;
  /** A host that sends nothing for so long is given up. */
  readonly idleMs: number;
  readonly signal: AbortSignal;
  /** Gets what went wrong with a host in whose place another is asked. */
  readonly notice?: ((text: string) => void) | undefined;
}

export interface Ask {
  readonly method: string;
  /** Below the repository, API_ROOT, or a whole address that a host has given. */
  readonly path: string | URL;
  readonly headers?: Headers;
  /** Made anew for each attempt. */
  readonly body?: (() => HttpRequest["body"]) | undefined;
  /** Beside those of the repository. */
  readonly scopes: readonly string[];
}

export class RegistrySession {
  readonly reference: Reference;
  readonly signal: AbortSignal;
  readonly #hosts: readonly RegistryHost[];
  readonly #headers: Readonly<Record<string, string>>;
  readonly #connections: Connections;
  readonly #authorizer: Authorizer;
  readonly #notice: (text: string) => void;
  /** Hosts that have lied, with the lie. */
  readonly #liars = new Map<RegistryHost, RegistryError>();
  /** Hosts that speak no TLS, as they are asked now. */
  readonly #plain = new Map<RegistryHost, RegistryHost>();

  constructor(reference: Reference, options: SessionOptions) {
    const { hosts, credentials, headers, idleMs, signal, notice = () => {} } = options;
    this.reference = reference;
    this.signal = signal;
    this.#hosts = hosts;
    this.#headers = headers;
    this.#notice = notice;
    this.#connections = new Connections(idleMs, signal);
    this.#authorizer = new Authorizer(this.#connections, credentials);
  }

  close(): void {
    this.#connections.close();
  }

  /** Hosts that may do it. Throws FAILED_PRECONDITION if there is none. */
  hostsFor(capability: Capability): readonly RegistryHost[] {
    const found = this.#hosts.filter(({ capabilities }) => capabilities.includes(capability));
    if (found.length > 0) return found;
    const { host } = this.reference;
    const text = `${host}: no host that may ${capability} (hosts.toml): failed precondition`;
    throw new RegistryError(Code.FAILED_PRECONDITION, text, "final");
  }

  /** Of a host that has given something wrong: the others are asked in its place from now on. */
  distrust(host: RegistryHost, error: RegistryError): void {
    if (this.#liars.has(host)) return;
    this.#liars.set(host, error);
    if (this.#hosts.some((each) => !this.#liars.has(each)))
      this.#notice(`${error.rawMessage}: asking another host`);
  }

  /** Does it with the first host with which it goes well. `progress` grows with what has been done, by whichever. */
  async withHost<T>(
    capability: Capability,
    progress: () => number,
    act: (host: RegistryHost) => Promise<T>,
  ): Promise<T> {
    const failures: RegistryError[] = [];
    for (const host of this.hostsFor(capability)) {
      const known = this.#liars.get(host);
      if (known !== undefined) {
        failures.push(known);
        continue;
      }
      try {
        return await persistently(this.signal, progress, () => act(host));
      } catch (error) {
        if (!(error instanceof RegistryError) || error.remedy === "final") throw error;
        if (error.isLie) this.distrust(host, error);
        failures.push(error);
      }
    }
    throw all(failures);
  }

  /** One request and the head of its answer, whatever its status. It must be read, or destroyed. */
  async ask(host: RegistryHost, wanted: Ask): Promise<HttpAnswer> {
    const scopes = [...wanted.scopes];
    for (let attempt = 1; ; attempt++) {
      const answer = await this.#askOnce(host, wanted, scopes);
      if (answer.statusCode !== 401 || attempt > 1) return answer;
      const headers = answer.headersDistinct["www-authenticate"] ?? [];
      answer.destroy();
      await this.#authorizer.authorize(this.#plain.get(host) ?? host, scopes, headers);
    }
  }

  async #askOnce(host: RegistryHost, wanted: Ask, scopes: readonly string[]): Promise<HttpAnswer> {
    const now = this.#plain.get(host) ?? host;
    const url = typeof wanted.path === "string" ? this.#url(now, wanted.path) : wanted.path;
    const isOwn = url.origin === new URL(`${now.scheme}://${now.host}`).origin;
    const authorization = isOwn ? await this.#authorizer.header(now, scopes) : undefined;
    try {
      return await this.#follow(now, url, wanted, isOwn ? authorization : undefined);
    } catch (error) {
      if (!now.mayBePlain || !speaksNoTls(error)) throw error;
      this.#plain.set(host, { ...now, scheme: "http", mayBePlain: false });
      return this.#askOnce(host, wanted, scopes);
    }
  }

  async #follow(
    host: RegistryHost,
    first: URL,
    { method, headers, body }: Ask,
    authorization: string | undefined,
  ): Promise<HttpAnswer> {
    const ours = new URL(`${host.scheme}://${host.host}`).origin;
    let url = first;
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      // What identifies us goes to the host that has asked for it, and to nobody else.
      const own: Headers =
        url.origin === ours
          ? { ...this.#headers, ...host.headers, ...(authorization !== undefined && { authorization }) }
          : {};
      const answer = await this.#connections.send(`${method} ${shown(url)}`, {
        method,
        url,
        headers: { "user-agent": `holdfast/${VERSION}`, "accept-encoding": "identity", ...own, ...headers },
        tls: host.tls,
        body: body?.(),
        dialTimeoutMs: host.dialTimeoutMs,
      });
      const { location } = answer.headers;
      const follows = method === "GET" || method === "HEAD" || answer.statusCode >= 307;
      if (!REDIRECTS.includes(answer.statusCode) || location === undefined || !follows) return answer;
      answer.destroy();
      url = redirected(url, location);
    }
    throw new RegistryError(
      Code.UNKNOWN,
      `${method} ${shown(first)}: more than ${MAX_REDIRECTS} redirects`,
      "elsewhere",
    );
  }

  #url({ scheme, host, path, namespace }: RegistryHost, below: string): URL {
    const place = below === API_ROOT ? "/" : `/${this.reference.repository}${below}`;
    const url = new URL(`${scheme}://${host}${path}${place}`);
    if (namespace !== undefined) url.searchParams.set("ns", namespace);
    return url;
  }

  /** An address that a host has given, in full. Throws for what is none. */
  addressOf(host: RegistryHost, location: string): URL {
    const { scheme, host: name } = this.#plain.get(host) ?? host;
    return redirected(new URL(`${scheme}://${name}`), location);
  }

  /** Throws what a failed answer says, having read it. */
  async refuse(what: string, answer: HttpAnswer): Promise<never> {
    const body = await readBody(what, answer, MAX_ERROR).catch(() => Buffer.alloc(0));
    answer.destroy();
    throw answerError(what, answer.statusCode, answer.headers, body.toString());
  }
}

/** A lie counts for more than whatever else went wrong. */
function all(failures: readonly RegistryError[]): RegistryError {
  const main = (failures.find(({ isLie }) => isLie) ?? failures.at(-1)) as RegistryError;
  if (failures.length === 1) return main;
  const text = failures.map(({ rawMessage }) => rawMessage).join("; ");
  const { code, remedy, isLie } = main;
  return new RegistryError(code, text, remedy, { cause: main, isLie });
}

function redirected(from: URL, location: string): URL {
  try {
    const url = new URL(location, from);
    if (url.protocol === "http:" || url.protocol === "https:") return url;
  } catch {
    // Said below.
  }
  throw new RegistryError(Code.UNKNOWN, `${shown(from)}: redirected to what is no address`, "elsewhere");
}

/** Without what signs a link to a store. */
export function shown({ protocol, host, pathname }: URL): string {
  return `${protocol}//${host}${pathname}`;
}
