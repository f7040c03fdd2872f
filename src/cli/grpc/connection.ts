// One HTTP/2 connection to a unix socket, as a client of gRPC needs it. node:http2 would do the same, but loading it takes longer than most verbs.
import { createConnection, type Socket } from "node:net";
import {
  content,
  FIRST_WINDOW,
  Flag,
  type Frame,
  FrameReader,
  FrameType,
  frame,
  frameHead,
  MAX_FRAME,
  MAX_WINDOW,
  numberFrame,
  PREFACE,
  Reset,
  Setting,
  settingsFrame,
  settingsOf,
} from "./frames.ts";
import { type Header, HeaderReader, packHeaders } from "./headers.ts";

/** What may be under way to us on one stream, and on all together. */
const STREAM_WINDOW: number = 4 * 1024 * 1024;
const CONNECTION_WINDOW: number = 16 * 1024 * 1024;
/** Of one block: what a server says of an error may be long. */
const MAX_HEADER_BYTES: number = 1024 * 1024;
const MAX_STREAM: number = 2 ** 31 - 1;

/** Why a stream is over before its end: by its server, or with the connection. */
export interface Loss {
  readonly reset?: number;
  readonly error?: Error;
  /** Whether the server has certainly done nothing about it. */
  readonly isUntouched: boolean;
}

export interface StreamReceiver {
  headers(headers: readonly Header[]): void;
  /** Returns whether more may come; until then the owner calls Stream.more(). */
  data(bytes: Buffer): boolean;
  ended(): void;
  lost(loss: Loss): void;
}

/** What leads to the connection of a stream. */
interface StreamHost {
  readonly peerWindow: number;
  write(bytes: Uint8Array): void;
  /** Writes as much of what waits as the windows allow. */
  pump(stream: Stream): void;
  forget(stream: Stream): void;
}

export class Stream {
  readonly id: number;
  readonly receiver: StreamReceiver;
  /** What waits for the server's windows. */
  readonly waiting: Uint8Array[] = [];
  /** Bytes that the server takes. */
  window: number;
  isEnding = false;
  hasEnded = false;
  readonly #host: StreamHost;
  /** Bytes that came and have not been given back to the server's window. */
  #taken = 0;

  constructor(host: StreamHost, id: number, receiver: StreamReceiver) {
    this.#host = host;
    this.id = id;
    this.receiver = receiver;
    this.window = host.peerWindow;
  }

  send(bytes: Uint8Array): void {
    this.waiting.push(bytes);
    this.#host.pump(this);
  }

  /** Nothing more is going to be sent. */
  end(): void {
    this.isEnding = true;
    this.#host.pump(this);
  }

  /** Gives it up; its receiver hears no more. */
  cancel(): void {
    this.#host.write(numberFrame(FrameType.RST_STREAM, this.id, Reset.CANCEL));
    this.#host.forget(this);
  }

  took(bytes: number): void {
    this.#taken += bytes;
  }

  /** The server may send on. */
  more(): void {
    if (this.#taken < STREAM_WINDOW / 2) return;
    this.#host.write(numberFrame(FrameType.WINDOW_UPDATE, this.id, this.#taken));
    this.#taken = 0;
  }
}

export class Http2Connection implements StreamHost {
  peerWindow: number = FIRST_WINDOW;
  readonly #socket: Socket;
  readonly #streams = new Map<number, Stream>();
  readonly #frames = new FrameReader();
  readonly #headers = new HeaderReader();
  /** A block of headers that goes on in the next frame. */
  #block: { readonly stream: number; readonly flags: number; readonly parts: Buffer[] } | undefined;
  #nextId = 1;
  /** Bytes that the server takes on all streams together. */
  #window: number = FIRST_WINDOW;
  #taken = 0;
  #maxFrame: number = MAX_FRAME;
  #error: Error | undefined;
  /** Whether it takes new streams. */
  #isOpen = true;
  #isCorked = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#received(chunk));
    socket.on("error", (error) => {
      this.#error ??= error;
    });
    socket.on("close", () => this.#closed());
    this.write(Buffer.from(PREFACE, "latin1"));
    this.write(
      settingsFrame([
        [Setting.ENABLE_PUSH, 0],
        [Setting.INITIAL_WINDOW_SIZE, STREAM_WINDOW],
      ]),
    );
    this.write(numberFrame(FrameType.WINDOW_UPDATE, 0, CONNECTION_WINDOW - FIRST_WINDOW));
    socket.unref();
  }

  /** Rejects with a SystemError. */
  static open(path: string): Promise<Http2Connection> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ path });
      const fail = (error: Error): void => reject(Object.assign(error, { path }));
      socket.once("error", fail);
      socket.once("connect", () => {
        socket.off("error", fail);
        resolve(new Http2Connection(socket));
      });
    });
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Throws for headers that cannot be sent. To be called while it is open. */
  begin(headers: readonly Header[], receiver: StreamReceiver): Stream {
    const block = packHeaders(headers);
    if (block.length > MAX_FRAME) throw new Error(`headers of ${block.length} bytes`);
    const stream = new Stream(this, this.#nextId, receiver);
    this.#nextId += 2;
    if (this.#nextId > MAX_STREAM) this.#isOpen = false;
    if (this.#streams.size === 0) this.#socket.ref();
    this.#streams.set(stream.id, stream);
    this.write(frame(FrameType.HEADERS, Flag.END_HEADERS, stream.id, block));
    return stream;
  }

  /** Takes no new streams, and closes with the last of those that are under way. */
  close(): void {
    this.#isOpen = false;
    if (this.#streams.size === 0) this.#socket.destroySoon();
  }

  /** All that is written in one go leaves together. */
  write(bytes: Uint8Array): void {
    const socket = this.#socket;
    if (!this.#isCorked) {
      this.#isCorked = true;
      socket.cork();
      process.nextTick(() => {
        this.#isCorked = false;
        socket.uncork();
      });
    }
    socket.write(bytes);
  }

  pump(stream: Stream): void {
    const { waiting } = stream;
    if (stream.hasEnded) return;
    for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
      const room = Math.min(first.length, this.#maxFrame, this.#window, stream.window);
      if (room <= 0) return;
      const rest = first.subarray(room);
      if (rest.length > 0) waiting[0] = rest;
      else waiting.shift();
      this.#window -= room;
      stream.window -= room;
      stream.hasEnded = stream.isEnding && waiting.length === 0;
      this.write(frameHead(FrameType.DATA, stream.hasEnded ? Flag.END_STREAM : 0, stream.id, room));
      this.write(first.subarray(0, room));
    }
    if (!stream.isEnding || stream.hasEnded) return;
    stream.hasEnded = true;
    this.write(frameHead(FrameType.DATA, Flag.END_STREAM, stream.id, 0));
  }

  forget({ id }: Stream): void {
    if (!this.#streams.delete(id) || this.#streams.size > 0) return;
    if (this.#isOpen) this.#socket.unref();
    else this.#socket.destroySoon();
  }

  #received(chunk: Buffer): void {
    try {
      for (const each of this.#frames.read(chunk)) {
        if (this.#socket.destroyed) return;
        this.#frame(each);
      }
    } catch (error) {
      this.#socket.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #closed(): void {
    this.#isOpen = false;
    const error = this.#error ?? new Error("the connection was closed");
    for (const { receiver } of this.#takeStreams(() => true)) receiver.lost({ error, isUntouched: false });
  }

  /** Those streams, which are over by that. */
  #takeStreams(wanted: (stream: Stream) => boolean): Stream[] {
    const taken = [...this.#streams.values()].filter(wanted);
    for (const stream of taken) this.forget(stream);
    return taken;
  }

  #frame(received: Frame): void {
    const { type, flags, stream: id, payload } = received;
    if (this.#block !== undefined && type !== FrameType.CONTINUATION)
      throw new Error("headers that break off");
    const stream = this.#streams.get(id);
    if (type === FrameType.DATA) this.#data(received, stream);
    else if (type === FrameType.HEADERS) this.#headerPart(id, flags, content(received));
    else if (type === FrameType.CONTINUATION) this.#headerPart(id, flags, payload);
    else if (type === FrameType.RST_STREAM) this.#reset(stream, payload.readUInt32BE());
    else if (type === FrameType.SETTINGS) this.#settings(flags, payload);
    else if (type === FrameType.PING) this.#ping(flags, payload);
    else if (type === FrameType.GOAWAY) this.#goAway(payload.readUInt32BE() & MAX_STREAM);
    else if (type === FrameType.WINDOW_UPDATE)
      this.#windowUpdate(id, stream, payload.readUInt32BE() & MAX_WINDOW);
    else if (type === FrameType.PUSH_PROMISE) throw new Error("a push that nobody allowed");
  }

  #data(received: Frame, stream: Stream | undefined): void {
    const { length } = received.payload;
    // Streams that nobody reads must not hold up the others.
    this.#taken += length;
    if (this.#taken >= CONNECTION_WINDOW / 2) {
      this.write(numberFrame(FrameType.WINDOW_UPDATE, 0, this.#taken));
      this.#taken = 0;
    }
    if (stream === undefined) return;
    stream.took(length);
    if (stream.receiver.data(content(received))) stream.more();
    if ((received.flags & Flag.END_STREAM) !== 0) this.#ended(stream);
  }

  #headerPart(id: number, flags: number, part: Buffer): void {
    const block = this.#block ?? { stream: id, flags, parts: [] };
    block.parts.push(part);
    if (block.stream !== id) throw new Error("headers of two streams in one another");
    const size = block.parts.reduce((sum, { length }) => sum + length, 0);
    if (size > MAX_HEADER_BYTES) throw new Error(`headers of more than ${MAX_HEADER_BYTES} bytes`);
    this.#block = (flags & Flag.END_HEADERS) === 0 ? block : undefined;
    if (this.#block !== undefined) return;
    const headers = this.#headers.read(Buffer.concat(block.parts));
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    stream.receiver.headers(headers);
    if ((block.flags & Flag.END_STREAM) !== 0) this.#ended(stream);
  }

  #ended(stream: Stream): void {
    // The server has said all, whatever we had yet to say. It takes who resets streams all the time for an attacker, and hangs up.
    if (!stream.hasEnded) this.write(frameHead(FrameType.DATA, Flag.END_STREAM, stream.id, 0));
    stream.hasEnded = true;
    this.forget(stream);
    stream.receiver.ended();
  }

  #reset(stream: Stream | undefined, reset: number): void {
    if (stream === undefined) return;
    this.forget(stream);
    stream.receiver.lost({ reset, isUntouched: reset === Reset.REFUSED_STREAM });
  }

  #settings(flags: number, payload: Buffer): void {
    if ((flags & Flag.ACK) !== 0) return;
    for (const [id, value] of settingsOf(payload)) {
      if (id === Setting.MAX_FRAME_SIZE) this.#maxFrame = Math.max(MAX_FRAME, value);
      if (id !== Setting.INITIAL_WINDOW_SIZE) continue;
      for (const stream of this.#streams.values()) stream.window += value - this.peerWindow;
      this.peerWindow = value;
    }
    this.write(frame(FrameType.SETTINGS, Flag.ACK, 0, Buffer.alloc(0)));
    for (const stream of [...this.#streams.values()]) this.pump(stream);
  }

  #ping(flags: number, payload: Buffer): void {
    if ((flags & Flag.ACK) === 0) this.write(frame(FrameType.PING, Flag.ACK, 0, payload));
  }

  /** The server takes no more, and has seen none behind `last`. */
  #goAway(last: number): void {
    this.#isOpen = false;
    const error = new Error("the server takes no more calls on this connection");
    for (const { receiver } of this.#takeStreams(({ id }) => id > last))
      receiver.lost({ error, isUntouched: true });
    if (this.#streams.size === 0) this.close();
  }

  #windowUpdate(id: number, stream: Stream | undefined, more: number): void {
    if (id === 0) {
      this.#window += more;
      for (const each of [...this.#streams.values()]) this.pump(each);
    } else if (stream !== undefined) {
      stream.window += more;
      this.pump(stream);
    }
  }
}
