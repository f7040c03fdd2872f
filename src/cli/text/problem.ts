// What goes wrong, in words for a person: the one place where errors of calls, sockets and files become a line on stderr.
import { isSystemError } from "../../platform/platform.ts";
import { Code, codeName, TtrpcError } from "../../ttrpc/status.ts";
import { commandFault } from "./command-fault.ts";

/** Exit status of the CLI when it could not do what was asked. */
export const FAILED = 1;
/** Exit status for a command line that makes no sense. */
export const USAGE = 2;
/** Of a verb that exits with the status of a process, as users of docker know them: it failed itself; the command cannot be run, or is not there. */
export const NOT_STARTED = 125;
const NOT_EXECUTABLE = 126;
const NO_COMMAND = 127;

/** An error that needs no explanation: `message` is for the person, and may have a second line that says what to do. */
export class Problem extends Error {
  override readonly name: string = "Problem";
  readonly status: number;

  constructor(message: string, status: number = FAILED, options?: { cause?: unknown }) {
    super(message, options);
    this.status = status;
  }
}

const SYSTEM_TEXTS: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  ECONNREFUSED: "nobody listens there",
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  ENOTSOCK: "not a socket",
  EAGAIN: "it does not accept connections",
  ENOTDIR: "not a directory",
  EISDIR: "is a directory",
  ENOSPC: "no space left on device",
};

/** "no such file" for ENOENT; the message for what is not a failed system call. */
export function systemText(error: unknown): string {
  if (isSystemError(error)) return SYSTEM_TEXTS[error.code] ?? error.code;
  return error instanceof Error ? error.message : String(error);
}

/** A gRPC error of any client: a code, and what the server said. */
export interface RpcError extends Error {
  readonly code: number;
  readonly details: string;
}

export function isRpcError(error: unknown): error is RpcError {
  return (
    error instanceof Error &&
    "details" in error &&
    typeof error.details === "string" &&
    "code" in error &&
    typeof error.code === "number"
  );
}

/** The code of a failed call, over ttrpc or gRPC: they number alike. undefined for any other error. */
export function callCode(error: unknown): number | undefined {
  if (error instanceof TtrpcError) return error.code;
  return isRpcError(error) ? error.code : undefined;
}

/** What the peer said of a failed call; the text of anything else. */
export function errorText(error: unknown): string {
  if (error instanceof Problem) return error.message;
  if (error instanceof TtrpcError) return shimText(error);
  if (isRpcError(error)) return rpcText(error);
  if (isSystemError(error)) {
    return error.path === undefined ? systemText(error) : `${error.path}: ${systemText(error)}`;
  }
  return error instanceof Error ? error.message : String(error);
}

function shimText({ code, rawMessage }: TtrpcError): string {
  if (code === Code.DEADLINE_EXCEEDED) {
    return 'no answer from the shim in time ("holdfast shim <id> dump" tells what it is at); --timeout waits longer';
  }
  return rawMessage === "" ? codeName(code) : rawMessage;
}

function rpcText({ code, details }: RpcError): string {
  if (code === Code.DEADLINE_EXCEEDED) {
    return 'no answer from the daemon in time: it hangs, or a shim does ("holdfast shims" tells which); --timeout waits longer';
  }
  // A code that says nothing is put behind the text by the daemon.
  return details === "" ? codeName(code) : details.replace(/: unknown$/, "");
}

/** The error of a verb that exits with the status of a process, with an exit status that differs from a process's. */
export function notStarted(error: unknown): Problem {
  const text = errorText(error);
  const fault = commandFault(text);
  const status = fault === "missing" ? NO_COMMAND : fault === "unusable" ? NOT_EXECUTABLE : NOT_STARTED;
  return new Problem(text, status, { cause: error });
}
