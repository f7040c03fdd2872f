// How a call over gRPC fails.
import { Code, codeName } from "../../ttrpc/status.ts";
import { Reset } from "./frames.ts";

/** `details` is what the server said. */
export class GrpcError extends Error {
  override readonly name: string = "GrpcError";
  /** One of Code, or what a server sent. */
  readonly code: number;
  readonly details: string;

  constructor(code: number, details: string, options?: { cause?: unknown }) {
    super(`${code} ${codeName(code)}: ${details}`, options);
    this.code = code;
    this.details = details;
  }
}

/** Of a stream that the server has reset, by the mapping of gRPC over HTTP/2. */
export function resetError(reset: number): GrpcError {
  const details = `the server has reset the call (${reset})`;
  if (reset === Reset.REFUSED_STREAM) return new GrpcError(Code.UNAVAILABLE, details);
  if (reset === Reset.CANCEL) return new GrpcError(Code.CANCELLED, details);
  if (reset === Reset.ENHANCE_YOUR_CALM) return new GrpcError(Code.RESOURCE_EXHAUSTED, details);
  if (reset === Reset.INADEQUATE_SECURITY) return new GrpcError(Code.PERMISSION_DENIED, details);
  return new GrpcError(Code.INTERNAL, details);
}

const HTTP_CODES: Readonly<Record<string, Code>> = {
  400: Code.INTERNAL,
  401: Code.UNAUTHENTICATED,
  403: Code.PERMISSION_DENIED,
  404: Code.UNIMPLEMENTED,
  429: Code.UNAVAILABLE,
  502: Code.UNAVAILABLE,
  503: Code.UNAVAILABLE,
  504: Code.UNAVAILABLE,
};

/** Of an answer that has no status of gRPC. */
export function httpError(status: string | undefined): GrpcError {
  const code = (status === undefined ? undefined : HTTP_CODES[status]) ?? Code.UNKNOWN;
  return new GrpcError(code, `the answer has no gRPC status (HTTP status ${status ?? "missing"})`);
}
