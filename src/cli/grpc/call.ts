// One call over gRPC: its messages both ways, its deadline, and the status that it ends with.
import { Code } from "../../ttrpc/status.ts";
import type { Http2Connection, Loss, Stream, StreamReceiver } from "./connection.ts";
import { GrpcError, httpError, resetError } from "./error.ts";
import type { Header } from "./headers.ts";

/** Before each message: whether it is compressed, and its length. */
const PREFIX = 5;
const MAX_TIMER_MS: number = 2 ** 31 - 1;
/** The header holds eight digits of a unit. */
const MAX_TIMEOUT_MS = 99_999_999;

export interface CallStart {
  readonly path: string;
  readonly headers: readonly Header[];
  readonly timeoutMs: number | undefined;
  /** Of one message, either way. */
  readonly maxBytes: number;
  /** Asked for again if the server has certainly not looked at the call. */
  readonly connect: () => Http2Connection | Promise<Http2Connection>;
}

interface Reader {
  readonly resolve: (message: Uint8Array | undefined) => void;
  readonly reject: (error: GrpcError) => void;
}

/** Connections that may end, one after the other, before the call has reached a server. */
const ATTEMPTS = 3;

export class Call implements StreamReceiver {
  readonly #start: CallStart;
  #stream: Stream | undefined;
  #timer: NodeJS.Timeout | undefined;
  #attempts = 0;
  /** All that was sent, framed, until the server has answered anything: it may have to be sent anew. */
  #sent: Uint8Array[] | undefined = [];
  #isEnding = false;
  /**
   * What came of a message that is not whole, how many bytes that is, and with how many there is something to read: put together at each frame, a large
   * message would be copied a thousand times.
   */
  #parts: Buffer[] = [];
  #held = 0;
  #needed = PREFIX;
  readonly #messages: Uint8Array[] = [];
  readonly #readers: Reader[] = [];
  /** The headers, and those at the end. */
  readonly #answer = new Map<string, string>();
  #end: { readonly error: GrpcError | undefined } | undefined;

  constructor(start: CallStart) {
    this.#start = start;
    const { timeoutMs } = start;
    if (timeoutMs !== undefined && timeoutMs <= MAX_TIMER_MS) {
      this.#timer = setTimeout(() => this.#giveUp(Code.DEADLINE_EXCEEDED, "Deadline exceeded"), timeoutMs);
    }
    this.#begin();
  }

  send(message: Uint8Array): void {
    if (message.length > this.#start.maxBytes) {
      this.#giveUp(Code.RESOURCE_EXHAUSTED, `a message of ${message.length} bytes is too large to send`);
      return;
    }
    const bytes = Buffer.allocUnsafe(PREFIX + message.length);
    bytes[0] = 0;
    bytes.writeUInt32BE(message.length, 1);
    bytes.set(message, PREFIX);
    this.#sent?.push(bytes);
    this.#stream?.send(bytes);
  }

  /** Nothing more is going to be sent. */
  end(): void {
    this.#isEnding = true;
    this.#stream?.end();
  }

  /** The next message of the server; undefined at the end. Rejects with a GrpcError. */
  next(): Promise<Uint8Array | undefined> {
    const message = this.#messages.shift();
    if (message !== undefined) {
      if (this.#messages.length === 0) this.#stream?.more();
      return Promise.resolve(message);
    }
    if (this.#end === undefined)
      return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
    return this.#end.error === undefined ? Promise.resolve(undefined) : Promise.reject(this.#end.error);
  }

  cancel(): void {
    this.#giveUp(Code.CANCELLED, "Cancelled on client");
  }

  headers(headers: readonly Header[]): void {
    this.#sent = undefined;
    for (const [name, value] of headers) this.#answer.set(name, value);
  }

  data(bytes: Buffer): boolean {
    this.#parts.push(bytes);
    this.#held += bytes.length;
    if (this.#held >= this.#needed) this.#cut(this.#parts.length === 1 ? bytes : Buffer.concat(this.#parts));
    return this.#messages.length === 0;
  }

  /** `rest` is all that came and was not delivered. */
  #cut(rest: Buffer): void {
    this.#needed = PREFIX;
    while (rest.length >= PREFIX && this.#end === undefined) {
      const length = rest.readUInt32BE(1);
      if (rest[0] !== 0) this.#giveUp(Code.INTERNAL, "the server has sent a compressed message");
      else if (length > this.#start.maxBytes) {
        this.#giveUp(Code.RESOURCE_EXHAUSTED, `a message of ${length} bytes is too large to receive`);
      }
      this.#needed = PREFIX + length;
      if (this.#end !== undefined || rest.length < this.#needed) break;
      this.#deliver(new Uint8Array(rest.subarray(PREFIX, this.#needed)));
      rest = rest.subarray(this.#needed);
      this.#needed = PREFIX;
    }
    this.#parts = rest.length === 0 ? [] : [rest];
    this.#held = rest.length;
  }

  ended(): void {
    const status = this.#answer.get("grpc-status");
    if (status === undefined) this.#finish(httpError(this.#answer.get(":status")));
    else if (status === "0") this.#finish(undefined);
    else {
      const code = /^\d+$/.test(status) ? Number(status) : Code.UNKNOWN;
      this.#finish(new GrpcError(code, unescaped(this.#answer.get("grpc-message") ?? "")));
    }
  }

  lost({ reset, error, isUntouched }: Loss): void {
    this.#stream = undefined;
    if (isUntouched && this.#sent !== undefined && this.#attempts < ATTEMPTS) this.#begin();
    else if (reset !== undefined) this.#finish(resetError(reset));
    else this.#unavailable(error);
  }

  #begin(): void {
    this.#attempts++;
    try {
      const connection = this.#start.connect();
      if ("begin" in connection) this.#over(connection);
      else {
        connection.then(
          (opened) => this.#over(opened),
          (error: unknown) => this.#unavailable(error),
        );
      }
    } catch (error) {
      this.#unavailable(error);
    }
  }

  #unavailable(error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    this.#finish(new GrpcError(Code.UNAVAILABLE, `no connection to the daemon: ${text}`, { cause: error }));
  }

  #over(connection: Http2Connection): void {
    if (this.#end !== undefined) return;
    const { path, headers, timeoutMs } = this.#start;
    const timeout: Header[] =
      timeoutMs === undefined || timeoutMs > MAX_TIMEOUT_MS
        ? []
        : [["grpc-timeout", `${Math.ceil(timeoutMs)}m`]];
    try {
      this.#stream = connection.begin(
        [
          [":method", "POST"],
          [":scheme", "http"],
          [":path", path],
          [":authority", "localhost"],
          ["te", "trailers"],
          ["content-type", "application/grpc"],
          ...timeout,
          ...headers,
        ],
        this,
      );
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      this.#finish(new GrpcError(Code.INVALID_ARGUMENT, text, { cause: error }));
      return;
    }
    for (const bytes of this.#sent ?? []) this.#stream.send(bytes);
    if (this.#isEnding) this.#stream.end();
  }

  #deliver(message: Uint8Array): void {
    const reader = this.#readers.shift();
    if (reader === undefined) this.#messages.push(message);
    else reader.resolve(message);
  }

  #giveUp(code: Code, details: string): void {
    if (this.#end !== undefined) return;
    this.#stream?.cancel();
    this.#messages.length = 0;
    this.#finish(new GrpcError(code, details));
  }

  #finish(error: GrpcError | undefined): void {
    if (this.#end !== undefined) return;
    clearTimeout(this.#timer);
    this.#end = { error };
    this.#stream = undefined;
    this.#sent = undefined;
    for (const { resolve, reject } of this.#readers.splice(0)) {
      if (error === undefined) resolve(undefined);
      else reject(error);
    }
  }
}

/** A message of gRPC, whose bytes outside ASCII stand as %XX. */
function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
