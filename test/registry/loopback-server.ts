// An HTTP server on loopback, for stand-ins of registries.
import { createServer, type RequestListener, type Server } from "node:http";

export class LoopbackServer {
  readonly #server: Server;

  protected constructor(answer: RequestListener) {
    this.#server = createServer(answer);
  }

  protected listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
  }

  /** host:port, as images are named. */
  get host(): string {
    const address = this.#server.address();
    if (typeof address !== "object" || address === null) throw new Error("no address");
    return `127.0.0.1:${address.port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
