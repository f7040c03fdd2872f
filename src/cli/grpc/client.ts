// Calls over gRPC to a server on a unix socket, over one connection that is made anew when it has ended. @grpc/grpc-js does the same for any server;
// loading and starting it takes as long as Node itself, for a program that makes two calls.
import { Code } from "../../ttrpc/status.ts";
import { Call } from "./call.ts";
import { Http2Connection } from "./connection.ts";
import { GrpcError } from "./error.ts";
import type { Header } from "./headers.ts";

/** What containerd takes; our specs and lists are far smaller. */
const MAX_MESSAGE: number = 16 * 1024 * 1024;

export class GrpcClient {
  readonly #address: string;
  readonly #userAgent: string;
  #connection: Http2Connection | undefined;
  #opening: Promise<Http2Connection> | undefined;
  #isClosed = false;

  private constructor(address: string, userAgent: string) {
    this.#address = address;
    this.#userAgent = userAgent;
  }

  /** Rejects with a SystemError if nobody listens there. */
  static async connect(address: string, userAgent: string): Promise<GrpcClient> {
    const client = new GrpcClient(address, userAgent);
    await client.#connect();
    return client;
  }

  begin(path: string, metadata: readonly Header[], timeoutMs?: number): Call {
    return new Call({
      path,
      headers: [["user-agent", this.#userAgent], ...metadata],
      timeoutMs,
      maxBytes: MAX_MESSAGE,
      connect: () => this.#connect(),
    });
  }

  /** One message each way. */
  async unary(
    path: string,
    metadata: readonly Header[],
    message: Uint8Array,
    timeoutMs: number | undefined,
  ): Promise<Uint8Array> {
    const call = this.begin(path, metadata, timeoutMs);
    call.send(message);
    call.end();
    const answer = await call.next();
    if (answer === undefined) throw new GrpcError(Code.UNIMPLEMENTED, "an answer without a message");
    // An error may come behind it.
    await call.next();
    return answer;
  }

  /** Takes no new calls; those that are under way go on. */
  close(): void {
    this.#isClosed = true;
    this.#connection?.close();
    void this.#opening?.then((connection) => connection.close()).catch(() => {});
  }

  #connect(): Http2Connection | Promise<Http2Connection> {
    if (this.#isClosed) throw new Error("it is closed");
    if (this.#connection?.isOpen === true) return this.#connection;
    this.#opening ??= this.#open();
    return this.#opening;
  }

  async #open(): Promise<Http2Connection> {
    try {
      this.#connection = await Http2Connection.open(this.#address);
      return this.#connection;
    } finally {
      this.#opening = undefined;
    }
  }
}
