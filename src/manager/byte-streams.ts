// Bytes over a client's stream, in either direction, as containerd's clients send and take them: whoever reads says how much it takes.
import { pack, unpack } from "../api/any.ts";
import { Data, WindowUpdate } from "../api/generated/transfer_types.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
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

/** Rejects with CANCELLED if the client goes before it has all. */
export async function sendBytes(stream: ClientStream, source: AsyncIterable<Uint8Array>): Promise<void> {
  let window = 0;
  const widen = async (): Promise<void> => {
    const message = await stream.receive();
    if (message === undefined)
      throw new TtrpcError(Code.CANCELLED, "the client takes no more: context canceled");
    window += unpack(message, `${TYPES}WindowUpdate`, WindowUpdate)?.update ?? 0;
  };
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; ) {
      while (window <= 0) await widen();
      const data = chunk.subarray(at, at + Math.min(window, MAX_PIECE));
      stream.send(pack(`${TYPES}Data`, Data, { data }));
      window -= data.length;
      at += data.length;
    }
  }
  // It widens the window again when it has read: what it has not read by the call's end may be lost. A client that does otherwise is not waited for.
  const patience = new Promise<void>((resolve) => setTimeout(resolve, LAST_WAIT_MS).unref());
  await Promise.race([patience, lastRead()]);

  async function lastRead(): Promise<void> {
    while (window < WINDOW) await widen();
  }
}
