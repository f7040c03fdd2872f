// Who we are to a registry's hosts: nobody until a host asks, then by the credentials that the client has for it, directly or by a token that a server
// of the registry's gives for them (the distribution specification's token and OAuth2 pages).
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import { type Connections, readBody } from "./connections.ts";
import { answerError, RegistryError } from "./failure.ts";
import { isLoopback, type RegistryHost } from "./hosts.ts";

export interface Credentials {
  /** "" if the secret is a refresh token. */
  readonly username: string;
  readonly secret: string;
  /** A whole Authorization header, in place of both; "" for none. */
  readonly header: string;
}

/** Asks whoever wants the transfer. undefined for a host that there is nothing for. */
export type CredentialSource = (
  host: string,
  challenges: readonly string[],
) => Promise<Credentials | undefined>;

const MAX_ANSWER = 1024 * 1024;
/** Of a token that does not say, in s. */
const TOKEN_TIME = 60;
const CLIENT_ID = "holdfast";

interface Grant {
  readonly header: string;
  readonly untilMs: number;
}

export class Authorizer {
  readonly #connections: Connections;
  readonly #credentials: CredentialSource;
  /** By host and scopes. */
  readonly #grants = new Map<string, Promise<Grant>>();

  constructor(connections: Connections, credentials: CredentialSource) {
    this.#connections = connections;
    this.#credentials = credentials;
  }

  /** The header for a request, if the host has asked for one before. */
  async header(host: RegistryHost, scopes: readonly string[]): Promise<string | undefined> {
    const grant = await this.#grants.get(keyOf(host, scopes));
    return grant !== undefined && grant.untilMs > Date.now() ? grant.header : undefined;
  }

  /** Does what a 401 demands. Rejects with UNAUTHENTICATED if there is nothing that would do. */
  async authorize(host: RegistryHost, scopes: readonly string[], headers: readonly string[]): Promise<void> {
    const key = keyOf(host, scopes);
    const grant = this.#grant(host, scopes, headers);
    this.#grants.set(key, grant);
    // Who waits for it hears of it; nobody else need.
    grant.catch(() => {
      if (this.#grants.get(key) === grant) this.#grants.delete(key);
    });
    await grant;
  }

  async #grant(host: RegistryHost, scopes: readonly string[], headers: readonly string[]): Promise<Grant> {
    const challenges = parseChallenges(headers);
    const credentials = await this.#credentials(host.host, headers);
    if (credentials !== undefined && credentials.header !== "") return lasting(credentials.header);
    const bearer = challenges.find(({ scheme }) => scheme === "bearer");
    if (bearer !== undefined) return this.#token(host, scopes, bearer, credentials);
    if (!challenges.some(({ scheme }) => scheme === "basic"))
      throw denied(`${host.host} wants a login of a kind that is not known`);
    if (credentials === undefined || credentials.username === "")
      throw denied(`${host.host} wants a user and a password, and there are none for it`);
    return lasting(basic(credentials));
  }

  async #token(
    host: RegistryHost,
    scopes: readonly string[],
    { parameters }: Challenge,
    credentials: Credentials | undefined,
  ): Promise<Grant> {
    const realm = realmOf(host, parameters.realm ?? "");
    // A password that goes to the registry by TLS goes nowhere without.
    if (
      credentials !== undefined &&
      host.scheme === "https" &&
      realm.protocol === "http:" &&
      !isLoopback(realm.host)
    )
      throw denied(`${host.host} wants a password to be sent to ${realm.host} without TLS`);
    const wanted = [...new Set([...scopes, ...(parameters.scope ?? "").split(" ")])].filter(
      (each) => each !== "",
    );
    const service = parameters.service ?? "";
    const isRefresh = credentials !== undefined && credentials.username === "" && credentials.secret !== "";
    const what = `a token from ${realm.host}`;
    const answer = isRefresh
      ? await this.#post(what, host, realm, { service, scope: wanted.join(" "), secret: credentials.secret })
      : await this.#get(what, host, realm, { service, wanted, credentials });
    const body = await readBody(what, answer, MAX_ANSWER);
    if (answer.statusCode !== 200) {
      const error = answerError(what, answer.statusCode, answer.headers, body.toString());
      throw error.code === Code.UNAUTHENTICATED || error.code === Code.PERMISSION_DENIED
        ? denied(`${error.rawMessage}: wrong user or password`)
        : error;
    }
    return tokenOf(what, body);
  }

  #get(
    what: string,
    host: RegistryHost,
    realm: URL,
    options: { service: string; wanted: readonly string[]; credentials: Credentials | undefined },
  ): ReturnType<Connections["send"]> {
    const { service, wanted, credentials } = options;
    const url = new URL(realm);
    if (service !== "") url.searchParams.set("service", service);
    for (const scope of wanted) url.searchParams.append("scope", scope);
    if (credentials !== undefined) url.searchParams.set("account", credentials.username);
    const headers = credentials === undefined ? {} : { authorization: basic(credentials) };
    return this.#connections.send(what, { method: "GET", url, headers, tls: host.tls });
  }

  #post(
    what: string,
    host: RegistryHost,
    url: URL,
    options: { service: string; scope: string; secret: string },
  ): ReturnType<Connections["send"]> {
    const { service, scope, secret } = options;
    const form = new URLSearchParams({
      grant_type: "refresh_token",
      service,
      client_id: CLIENT_ID,
      refresh_token: secret,
      ...(scope !== "" && { scope }),
    });
    const body = Buffer.from(form.toString());
    const headers = {
      "content-type": "application/x-www-form-urlencoded",
      "content-length": String(body.length),
    };
    return this.#connections.send(what, { method: "POST", url, headers, tls: host.tls, body });
  }
}

function keyOf(host: RegistryHost, scopes: readonly string[]): string {
  return [host.host, ...scopes].join(" ");
}

function basic({ username, secret }: Credentials): string {
  return `Basic ${Buffer.from(`${username}:${secret}`).toString("base64")}`;
}

function lasting(header: string): Grant {
  return { header, untilMs: Number.POSITIVE_INFINITY };
}

export function denied(text: string): RegistryError {
  return new RegistryError(Code.UNAUTHENTICATED, `${text}: authorization failed`, "elsewhere");
}

function realmOf(host: RegistryHost, text: string): URL {
  try {
    const url = new URL(text);
    if (url.protocol === "https:" || url.protocol === "http:") return url;
  } catch {
    // Said below.
  }
  throw new TtrpcError(
    Code.UNAUTHENTICATED,
    `${host.host} wants a token of ${JSON.stringify(text.slice(0, 200))}, which is no address: authorization failed`,
  );
}

function tokenOf(what: string, body: Buffer): Grant {
  let value: { token?: unknown; access_token?: unknown; expires_in?: unknown };
  try {
    value = JSON.parse(body.toString()) as typeof value;
  } catch (error) {
    throw denied(`${what}: no JSON: ${(error as Error).message}`);
  }
  const token = value?.token ?? value?.access_token;
  // It goes into a header.
  if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token))
    throw denied(`${what}: there is none in the answer`);
  const { expires_in: time } = value;
  const seconds = typeof time === "number" && time > 0 ? time : TOKEN_TIME;
  return { header: `Bearer ${token}`, untilMs: Date.now() + seconds * 900 };
}
