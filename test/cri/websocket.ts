// A WebSocket to containerd's streaming server, as kubectl's exec, attach and port-forward use it: the first byte of each message names its channel.
import { createHash, randomBytes } from "node:crypto";
import { request } from "node:http";
import type { Duplex } from "node:stream";
import { eventually } from "../harness/eventually.ts";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const BINARY = 2;
const CLOSE = 8;

export class ChannelSocket {
  readonly #socket: Duplex;
  readonly #channels = new Map<number, Buffer>();
  #unread = Buffer.alloc(0);
  ended = false;

  private constructor(socket: Duplex, head: Buffer) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("close", () => {
      this.ended = true;
    });
    socket.on("error", () => {});
    if (head.length > 0) this.#read(head);
  }

  static open(url: string, protocol: string): Promise<ChannelSocket> {
    const key = randomBytes(16).toString("base64");
    const headers = {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Key": key,
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Protocol": protocol,
    };
    return new Promise((done, fail) => {
      const asking = request(url, { headers });
      asking.once("error", fail);
      asking.once("response", (response) => fail(new Error(`${url}: status ${response.statusCode}`)));
      asking.once("upgrade", (response, socket, head) => {
        const expected = createHash("sha1")
          .update(key + GUID)
          .digest("base64");
        if (response.headers["sec-websocket-accept"] !== expected) fail(new Error("a wrong accept key"));
        else done(new ChannelSocket(socket, head));
      });
      asking.end();
    });
  }

  /** What has come on a channel so far. */
  text(channel: number): string {
    return this.bytes(channel).toString();
  }

  bytes(channel: number): Buffer {
    return this.#channels.get(channel) ?? Buffer.alloc(0);
  }

  async shows(channel: number, pattern: RegExp): Promise<void> {
    await eventually(`${pattern} on channel ${channel}`, () => pattern.test(this.text(channel)));
  }

  send(channel: number, data: string): void {
    this.#frame(BINARY, Buffer.concat([Buffer.of(channel), Buffer.from(data)]));
  }

  close(): void {
    this.#frame(CLOSE, Buffer.alloc(0));
    this.#socket.end();
  }

  /** A client's frames are masked; all of ours are short. */
  #frame(opcode: number, payload: Buffer): void {
    if (payload.length > 125) throw new Error("a longer frame than the tests need");
    const mask = randomBytes(4);
    const masked = payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0));
    this.#socket.write(Buffer.concat([Buffer.of(0x80 | opcode, 0x80 | payload.length), mask, masked]));
  }

  #read(chunk: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, chunk]);
    for (let frame = this.#next(); frame !== undefined; frame = this.#next()) {
      const [channel] = frame.payload;
      if (frame.opcode > BINARY || channel === undefined) continue;
      this.#channels.set(channel, Buffer.concat([this.bytes(channel), frame.payload.subarray(1)]));
    }
  }

  #next(): { opcode: number; payload: Buffer } | undefined {
    const data = this.#unread;
    if (data.length < 2) return undefined;
    let length = (data[1] ?? 0) & 0x7f;
    let start = 2;
    if (length === 126) {
      if (data.length < 4) return undefined;
      length = data.readUInt16BE(2);
      start = 4;
    } else if (length === 127) {
      if (data.length < 10) return undefined;
      length = Number(data.readBigUInt64BE(2));
      start = 10;
    }
    if (data.length < start + length) return undefined;
    this.#unread = data.subarray(start + length);
    return { opcode: (data[0] ?? 0) & 0x0f, payload: data.subarray(start, start + length) };
  }
}
