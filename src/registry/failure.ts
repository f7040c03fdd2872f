// What goes wrong with a registry, and what may be done about it: asked again, asked of another host, or neither.
import { Code, TtrpcError } from "../ttrpc/status.ts";

/** "again": the same may go well a moment later. "elsewhere": another host may have it. "final": asking again can only do harm. */
export type Remedy = "again" | "elsewhere" | "final";

export class RegistryError extends TtrpcError {
  readonly remedy: Remedy;
  /** As the registry wants it, in ms. */
  readonly retryAfterMs: number | undefined;
  /** Whether the host has answered at all. */
  readonly status: number | undefined;
  /** It has given something else than it was asked for. */
  readonly isLie: boolean;

  constructor(
    code: number,
    message: string,
    remedy: Remedy,
    options: { cause?: unknown; retryAfterMs?: number | undefined; status?: number; isLie?: boolean } = {},
  ) {
    super(code, message, { cause: options.cause });
    this.remedy = remedy;
    this.retryAfterMs = options.retryAfterMs;
    this.status = options.status;
    this.isLie = options.isLie === true;
  }
}

/** What a host gave is not what it should be: nothing of it is kept, and the transfer asks it no more. */
export function lie(message: string, cause?: unknown): RegistryError {
  const text = `${message}: failed precondition`;
  return new RegistryError(Code.FAILED_PRECONDITION, text, "elsewhere", { isLie: true, cause });
}

const CODES: Readonly<Record<number, number>> = {
  400: Code.INVALID_ARGUMENT,
  401: Code.UNAUTHENTICATED,
  403: Code.PERMISSION_DENIED,
  404: Code.NOT_FOUND,
  408: Code.UNAVAILABLE,
  429: Code.RESOURCE_EXHAUSTED,
};
const AGAIN: readonly number[] = [408, 425, 429, 500, 502, 503, 504];
/** As much of what a registry says as fits a line. */
const MAX_TEXT = 300;

/** An answer that is no success. `body` is its beginning. */
export function answerError(
  what: string,
  status: number,
  headers: Readonly<Record<string, string | string[] | undefined>>,
  body: string,
): RegistryError {
  const code = CODES[status] ?? (status >= 500 ? Code.UNAVAILABLE : Code.UNKNOWN);
  const remedy = AGAIN.includes(status) ? "again" : "elsewhere";
  const said = registryWords(body);
  const retryAfterMs = retryAfter(headers["retry-after"]);
  const text = `${what}: ${statusText(status)}${said === "" ? "" : `: ${said}`}${suffix(code)}`;
  return new RegistryError(code, text, remedy, { status, retryAfterMs });
}

function statusText(status: number): string {
  if (status === 401) return "the registry wants a login (401)";
  if (status === 403) return "access denied (403)";
  if (status === 404) return "not found (404)";
  if (status === 429) return "too many requests (429)";
  return `unexpected status ${status}`;
}

/** As containerd ends its errors. */
function suffix(code: number): string {
  if (code === Code.NOT_FOUND) return ": not found";
  return code === Code.UNAVAILABLE ? ": unavailable" : "";
}

/** "CODE: message" of each error of the distribution specification; nothing of what is no such answer. */
function registryWords(body: string): string {
  try {
    const { errors } = JSON.parse(body) as { errors?: unknown };
    if (!Array.isArray(errors)) return "";
    return errors
      .map((each: { code?: unknown; message?: unknown } | null) =>
        [each?.code, each?.message].filter((word) => typeof word === "string" && word !== "").join(": "),
      )
      .filter((text) => text !== "")
      .join("; ")
      .slice(0, MAX_TEXT);
  } catch {
    return "";
  }
}

/** As HTTP writes dates; Date.parse() makes one of almost anything. */
const HTTP_DATE = /^[A-Z][a-z]+,? /;

/** Milliseconds from a Retry-After, of seconds or a date. */
function retryAfter(header: string | string[] | undefined): number | undefined {
  if (typeof header !== "string") return undefined;
  if (/^\d+$/.test(header)) return Number(header) * 1000;
  const at = HTTP_DATE.test(header) ? Date.parse(header) : Number.NaN;
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now());
}

/** Nobody has answered, or the answer broke off. */
export function connectionError(what: string, cause: unknown): RegistryError {
  if (cause instanceof RegistryError) return cause;
  const text = cause instanceof Error ? describe(cause) : String(cause);
  return new RegistryError(Code.UNAVAILABLE, `${what}: ${text}: unavailable`, "again", { cause });
}

function describe(error: Error & { code?: unknown; errors?: unknown }): string {
  // Node tries several addresses, and says nothing of what became of them.
  const [first] = Array.isArray(error.errors) ? (error.errors as Error[]) : [];
  if (error.message === "" && first !== undefined) return first.message;
  if (error.message === "aborted") return "the connection broke off";
  return error.message;
}

/** The error is a refusal to talk at all: whoever is not there now is not there in a second. */
export function isAbsent(error: RegistryError): boolean {
  const { cause } = error;
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  return (
    ["ECONNREFUSED", "ENOTFOUND", "EHOSTUNREACH", "ENETUNREACH", "EAI_AGAIN"].includes(code) ||
    isTlsCode(code)
  );
}

export function isTlsCode(code: string): boolean {
  return /^ERR_(SSL|TLS)_|^CERT_|CERT|SELF_SIGNED|^UNABLE_TO_|^EPROTO$/.test(code);
}
