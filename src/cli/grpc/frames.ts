// The frames of HTTP/2 (RFC 9113, sections 4 and 6), as far as a client of gRPC needs them.

export const FrameType = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const Flag = { ACK: 1, END_STREAM: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 0x20 } as const;

export const Setting = { ENABLE_PUSH: 2, INITIAL_WINDOW_SIZE: 4, MAX_FRAME_SIZE: 5 } as const;

/** Why a stream is reset. */
export const Reset = {
  NO_ERROR: 0,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  ENHANCE_YOUR_CALM: 11,
  INADEQUATE_SECURITY: 12,
} as const;

export const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/** The largest payload that every peer takes, and that we take. */
export const MAX_FRAME = 16_384;
/** A window before anybody says anything of it. */
export const FIRST_WINDOW = 65_535;
/** The largest that a window may be. */
export const MAX_WINDOW: number = 2 ** 31 - 1;
const HEAD = 9;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** The head of a frame that has `length` bytes. */
export function frameHead(type: number, flags: number, stream: number, length: number): Buffer {
  const head = Buffer.alloc(HEAD);
  head.writeUIntBE(length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return head;
}

export function frame(type: number, flags: number, stream: number, payload: Uint8Array): Buffer {
  return Buffer.concat([frameHead(type, flags, stream, payload.length), payload]);
}

/** Of RST_STREAM and WINDOW_UPDATE. */
export function numberFrame(type: number, stream: number, value: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value);
  return frame(type, 0, stream, payload);
}

export function settingsFrame(settings: readonly (readonly [id: number, value: number])[]): Buffer {
  const payload = Buffer.alloc(6 * settings.length);
  for (const [index, [id, value]] of settings.entries()) {
    payload.writeUInt16BE(id, 6 * index);
    payload.writeUInt32BE(value, 6 * index + 2);
  }
  return frame(FrameType.SETTINGS, 0, 0, payload);
}

export function settingsOf(payload: Buffer): [id: number, value: number][] {
  const settings: [number, number][] = [];
  for (let at = 0; at + 6 <= payload.length; at += 6) {
    settings.push([payload.readUInt16BE(at), payload.readUInt32BE(at + 2)]);
  }
  return settings;
}

/** Cuts what comes into frames. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);

  /** The frames that end in `chunk`. Throws where one is larger than we take: the peer does not speak this protocol. */
  *read(chunk: Buffer): Generator<Frame> {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (bytes.length >= HEAD) {
      const length = bytes.readUIntBE(0, 3);
      if (length > MAX_FRAME) throw new Error("it does not speak HTTP/2");
      const end = HEAD + length;
      if (bytes.length < end) break;
      const payload = bytes.subarray(HEAD, end);
      yield {
        type: bytes[3] ?? 0,
        flags: bytes[4] ?? 0,
        stream: bytes.readUInt32BE(5) & MAX_WINDOW,
        payload,
      };
      bytes = bytes.subarray(end);
    }
    this.#rest = bytes;
  }
}

/** The payload of DATA or HEADERS without what surrounds it. Throws if that is longer than all. */
export function content({ type, flags, payload }: Frame): Buffer {
  let begin = 0;
  let end = payload.length;
  if ((flags & Flag.PADDED) !== 0) {
    begin = 1;
    end -= payload[0] ?? 0;
  }
  if (type === FrameType.HEADERS && (flags & Flag.PRIORITY) !== 0) begin += 5;
  if (end < begin) throw new Error("a frame with more padding than it holds");
  return payload.subarray(begin, end);
}
