// HTTP to the hosts of a registry: Node's own client, as its fetch takes no certificates. Connections are kept for one transfer, and closed with it.
import { readFileSync } from "node:fs";
import { type IncomingMessage, Agent as PlainAgent, request as plainRequest } from "node:http";
import { Agent as TlsAgent, request as tlsRequest } from "node:https";
import { createSecureContext, rootCertificates, type SecureContext } from "node:tls";
import { connectionError, isTlsCode } from "./failure.ts";
import type { TlsSettings } from "./hosts.ts";
import { proxyFor } from "./proxy.ts";
import { proxyHeaders, throughProxy } from "./tunnel.ts";

export type Headers = Readonly<Record<string, string | readonly string[]>>;

export interface HttpRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers: Headers;
  readonly tls: TlsSettings;
  /** Its length must be in the headers. */
  readonly body?: AsyncIterable<Uint8Array> | Uint8Array | undefined;
  readonly dialTimeoutMs?: number | undefined;
}

/** What is not read to its end must be destroyed. */
export type HttpAnswer = IncomingMessage & { readonly statusCode: number };

const DIAL_TIMEOUT_MS = 30_000;
/** Connections to one host at a time. */
const MAX_SOCKETS = 16;
/** Where Debian and others have the authorities that the administrator trusts. */
const SYSTEM_CA = process.env.SSL_CERT_FILE ?? "/etc/ssl/certs/ca-certificates.crt";

/** A proxy is checked against the machine's authorities, as no hosts.toml is about it. */
const PROXY_TLS: TlsSettings = { ca: [], client: [], skipVerify: false };

export class Connections {
  readonly #plain = new PlainAgent({ keepAlive: true, maxSockets: MAX_SOCKETS });
  readonly #secure = new Map<TlsSettings, TlsAgent>();
  readonly #idleMs: number;
  readonly #signal: AbortSignal;

  /** A connection on which nothing has come for `idleMs` is given up. `signal` ends whatever goes on. */
  constructor(idleMs: number, signal: AbortSignal) {
    this.#idleMs = idleMs;
    this.#signal = signal;
  }

  /** One request and the head of its answer; redirects are the caller's. Rejects with a RegistryError. */
  async send(what: string, wanted: HttpRequest): Promise<HttpAnswer> {
    try {
      return await this.#send(wanted);
    } catch (error) {
      this.#signal.throwIfAborted();
      throw connectionError(what, error);
    }
  }

  #send({ method, url, headers, tls, body, dialTimeoutMs }: HttpRequest): Promise<HttpAnswer> {
    const isSecure = url.protocol === "https:";
    const proxy = proxyFor(url);
    const agent = proxy !== undefined ? undefined : isSecure ? this.#agentFor(tls) : this.#plain;
    return new Promise((resolve, reject) => {
      const options = {
        method,
        headers: {
          ...Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value as string])),
          ...(proxy !== undefined && proxyHeaders(proxy, url)),
        },
        signal: this.#signal,
        timeout: dialTimeoutMs ?? DIAL_TIMEOUT_MS,
        ...(agent !== undefined && { agent }),
        ...(proxy !== undefined &&
          throughProxy(proxy, url, {
            registry: isSecure ? this.#tlsOptions(tls) : undefined,
            proxy: this.#tlsOptions(PROXY_TLS),
          })),
      };
      const call = (isSecure ? tlsRequest : plainRequest)(url, options);
      call.once("error", reject);
      call.on("timeout", () => call.destroy(new Error("it does not answer in time")));
      // Until it is connected the other bound holds.
      call.once("socket", (socket) => {
        const connected = (): void => void call.setTimeout(this.#idleMs);
        if (socket.connecting) socket.once(isSecure ? "secureConnect" : "connect", connected);
        else connected();
      });
      call.once("response", (answer) => {
        call.off("error", reject);
        // It comes from the answer's stream too.
        call.on("error", () => {});
        resolve(answer as HttpAnswer);
      });
      void sendBody(call, body).catch((error: unknown) =>
        call.destroy(error instanceof Error ? error : new Error(String(error))),
      );
    });
  }

  #agentFor(tls: TlsSettings): TlsAgent {
    const known = this.#secure.get(tls);
    if (known !== undefined) return known;
    const agent = new TlsAgent({ keepAlive: true, maxSockets: MAX_SOCKETS, ...this.#tlsOptions(tls) });
    this.#secure.set(tls, agent);
    return agent;
  }

  #tlsOptions(tls: TlsSettings): { rejectUnauthorized: boolean; secureContext: SecureContext } {
    return { rejectUnauthorized: !tls.skipVerify, secureContext: secureContext(tls) };
  }

  close(): void {
    this.#plain.destroy();
    for (const agent of this.#secure.values()) agent.destroy();
  }
}

/** Throws, and names the file that cannot be read. */
function secureContext({ ca, client }: TlsSettings): SecureContext {
  const own = ca.map((path) => readFileSync(path, "utf8"));
  return createSecureContext({
    ca: [...systemAuthorities(), ...own],
    ...(client.length > 0 && {
      cert: client.map((pair) => readFileSync(pair.cert, "utf8")),
      key: client.map((pair) => readFileSync(pair.key, "utf8")),
    }),
  });
}

/** Node has a list of its own, in which an administrator's authority is not. */
function systemAuthorities(): readonly string[] {
  try {
    return [readFileSync(SYSTEM_CA, "utf8")];
  } catch {
    return rootCertificates;
  }
}

async function sendBody(call: ReturnType<typeof plainRequest>, body: HttpRequest["body"]): Promise<void> {
  if (body === undefined || body instanceof Uint8Array) {
    call.end(body);
    return;
  }
  for await (const chunk of body) {
    if (call.destroyed) return;
    if (!call.write(chunk)) {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          call.off("drain", done);
          call.off("close", done);
          resolve();
        };
        call.on("drain", done);
        call.on("close", done);
      });
    }
  }
  call.end();
}

/** The whole of an answer's body. Rejects with a RegistryError for one that is longer, or breaks off. */
export async function readBody(what: string, answer: HttpAnswer, limit: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > limit) break;
      parts.push(chunk);
    }
  } catch (error) {
    throw connectionError(what, error);
  }
  return Buffer.concat(parts).subarray(0, limit + 1);
}

/** Whether a host that was asked by TLS does not speak it. */
export function speaksNoTls(error: unknown): boolean {
  const { cause } = error as { cause?: unknown };
  const { code = "" } = (cause ?? {}) as { code?: string };
  return isTlsCode(code) || code === "ECONNRESET";
}
