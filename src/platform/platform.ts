// The only I/O interface of the portable code. Everything the shim does to the outside world goes through a Platform that is passed in;
// quickjs.ts offers all of it over the native host, node.ts offers Clock and Net so that src/ttrpc also runs on Node.

/** Cancels something scheduled. Cancelling twice, or after it fired, does nothing. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds on a clock that never goes back. */
  monotonicMs(): number;
  /** Nanoseconds since 1970-01-01 UTC. */
  realtimeNs(): bigint;
  /** Calls `fire` once, `ms` milliseconds from now. */
  after(ms: number, fire: () => void): Timer;
}

/** What a failed system call tells. `code` is the errno's name, such as "ENOENT". */
export interface SystemError extends Error {
  readonly code: string;
  readonly syscall: string;
  readonly path?: string;
}

/** Whether `error` is a failed system call, and, where `code` is given, one that failed with that errno. */
export function isSystemError(error: unknown, code?: string): error is SystemError {
  if (!(error instanceof Error) || !("code" in error) || !("syscall" in error)) return false;
  return code === undefined || error.code === code;
}

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

export interface StreamHandler {
  /** Some bytes arrived. The chunk belongs to the handler. */
  data(chunk: Uint8Array): void;
  /** All that was queued by write() has been handed to the kernel. */
  drained(): void;
  /** The stream is over: the peer closed it, it failed (`error`), or close() was called. Called exactly once. */
  closed(error?: Error): void;
}

/** A connected byte stream, such as a unix socket. */
export interface ByteStream {
  /** The peer's credentials, where the platform can tell. */
  readonly peer: PeerCredentials | undefined;
  /** Bytes accepted by write() and not yet handed to the kernel. */
  readonly queued: number;
  /** Starts delivery; called once, before any write. */
  start(handler: StreamHandler): void;
  /** Sends all bytes in order, queueing what the kernel does not take now. The stream owns `bytes` from here on. A closed stream ignores it. */
  write(bytes: Uint8Array): void;
  /** Stops reading until resume(), so that the peer feels back-pressure. A closed peer may go unnoticed meanwhile. */
  pause(): void;
  resume(): void;
  /** Closes at once; what is still queued is dropped. */
  close(): void;
}

export interface Listener {
  close(): void;
}

export interface Net {
  /** Connects to a unix socket. Rejects with a SystemError. */
  connect(path: string): Promise<ByteStream>;
}
