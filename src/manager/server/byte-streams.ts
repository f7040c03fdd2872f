// Bytes over a client's stream, in either direction, as containerd's clients send and take them: whoever reads says how much it takes.
import { pack, unpack } from "../../api/any.ts";
import { Data, WindowUpdate } from "../../api/generated/transfer_types.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import type { ClientStream } from "./streams.ts";

const TYPES = "containerd.types.transfer.";
const MAX_PIECE = 32 * 1024;
const WINDOW = 2 * MAX_PIECE;
const LAST_WAIT_MS = 5000;

/** What the client sends, until it says that there is no more. */
export async function* receiveBytes(stream: ClientStream): AsyncGenerator<Uint8Array> {
  let window = 0;
  for (;;) {
    if (window < WINDOW) {
      stream.send(pack(`${TYPES}WindowUpdate`, WindowUpdate, { update: WINDOW }));
      window += WINDOW;
    }
    const message = await stream.receive();
    if (message === undefined) return;
    const data = unpack(message, `${TYPES}Data`, Data)?.data;
    if (data === undefined) continue;
    window -= data.length;
    yield data;
  }
}

/**
 * Rejects with CANCELLED if the client goes before it has all. Returns when it has read the last: a client takes the end of the call for the end of its
 * work. It says so by widening the window, which it does when less than the usual window is left; so the last message is as large as it takes for that.
 */
export async function sendBytes(stream: ClientStream, source: AsyncIterable<Uint8Array>): Promise<void> {
  const window = new Window(stream);
  let held = Buffer.alloc(0);
  for await (const chunk of source) {
    held = Buffer.concat([held, chunk]);
    while (held.length > WINDOW) {
      const size = Math.min(MAX_PIECE, held.length - WINDOW);
      await window.send(held.subarray(0, size));
      held = held.subarray(size);
    }
  }
  if (held.length > 0) await window.send(held);
  // A client that keeps the window otherwise is not waited for.
  const patience = new Promise<void>((resolve) => setTimeout(resolve, LAST_WAIT_MS).unref());
  await Promise.race([patience, window.read()]);
}

class Window {
  readonly #stream: ClientStream;
  /** What the client has allowed, and what of that is used. */
  #granted = 0;
  #sent = 0;
  /** What the client will have allowed when it has read all. */
  #expected = WINDOW;

  constructor(stream: ClientStream) {
    this.#stream = stream;
  }

  async send(data: Uint8Array): Promise<void> {
    while (this.#granted - this.#sent < data.length) await this.#widen();
    this.#stream.send(pack(`${TYPES}Data`, Data, { data }));
    this.#sent += data.length;
    if (this.#expected - this.#sent < WINDOW) this.#expected += WINDOW;
  }

  async read(): Promise<void> {
    while (this.#granted < this.#expected) await this.#widen();
  }

  async #widen(): Promise<void> {
    const message = await this.#stream.receive();
    if (message === undefined)
      throw new TtrpcError(Code.CANCELLED, "the client takes no more: context canceled");
    this.#granted += unpack(message, `${TYPES}WindowUpdate`, WindowUpdate)?.update ?? 0;
  }
}
