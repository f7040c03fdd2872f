import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  Flag,
  type Frame,
  FrameDecoder,
  FrameType,
  HEADER_BYTES,
  MAX_DATA_BYTES,
  newFrame,
  sealFrame,
} from "../../src/ttrpc/frame.ts";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";
import { hex, rawFrame } from "./memory.ts";

function decodeAll(chunks: Iterable<Uint8Array>): Frame[] {
  const decoder = new FrameDecoder();
  const frames: Frame[] = [];
  for (const chunk of chunks) {
    decoder.push(chunk);
    for (let frame = decoder.next(); frame; frame = decoder.next()) frames.push(frame);
  }
  return frames;
}

function* split(bytes: Uint8Array, cuts: readonly number[]): Generator<Uint8Array> {
  let from = 0;
  for (const cut of [...cuts.map((share) => Math.floor(share * bytes.length)), bytes.length].sort(
    (a, b) => a - b,
  )) {
    yield bytes.slice(from, cut);
    from = cut;
  }
}

/** Data as plain numbers, so that views and copies compare alike. */
function plain(frames: Frame[]): unknown[] {
  return frames.map((frame) => ({ ...frame, data: frame.data && [...frame.data] }));
}

test("a frame is ten bytes of big-endian header, then its data", () => {
  const sealed = sealFrame(newFrame().raw(hex("aabbcc")), 0x01020305, FrameType.DATA, Flag.REMOTE_CLOSED);
  assert.deepEqual(sealed, hex("00000003 01020305 03 01 aabbcc"));
  assert.deepEqual(plain(decodeAll([sealed])), [
    { streamId: 0x01020305, type: 3, flags: 1, length: 3, data: [0xaa, 0xbb, 0xcc] },
  ]);
});

test("the largest stream id is not read as a negative number", () => {
  assert.equal(decodeAll([hex("00000000 ffffffff 01 00")])[0]?.streamId, 0xffffffff);
});

test("any split of any sequence of frames decodes the same", () => {
  const frame = fc.record({
    streamId: fc.nat(0xffffffff),
    type: fc.nat(255),
    flags: fc.nat(255),
    data: fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ minLength: 1000, maxLength: 3000 })),
  });
  const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 });
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 8 }), cuts, (frames, where) => {
      const bytes = Buffer.concat(frames.map((f) => rawFrame(f.streamId, f.type, f.flags, f.data)));
      const expected = frames.map((f) => ({ ...f, length: f.data.length, data: [...f.data] }));
      assert.deepEqual(plain(decodeAll(split(bytes, where))), expected);
      assert.deepEqual(plain(decodeAll(Array.from(bytes, (byte) => Uint8Array.of(byte)))), expected);
    }),
  );
});

test("an oversized frame is reported, exactly its bytes are dropped, and the next frame is found, wherever the cuts are", () => {
  const size = MAX_DATA_BYTES + 1;
  const next = rawFrame(3, 2, 0, hex("0102"));
  const bytes = Buffer.concat([rawFrame(1, 1, 0, new Uint8Array(size)), next]);
  const cut = fc.constantFrom(0, 1, 9, 10, 11, 5000, size + 9, size + 10, size + 11, size + 20, size + 21);
  fc.assert(
    fc.property(fc.array(cut, { maxLength: 4 }), (where) => {
      const at = [...where].sort((a, b) => a - b);
      const chunks = [0, ...at].map((from, index) => bytes.subarray(from, at[index] ?? bytes.length));
      assert.deepEqual(plain(decodeAll(chunks)), [
        { streamId: 1, type: 1, flags: 0, length: size, data: undefined },
        { streamId: 3, type: 2, flags: 0, length: 2, data: [1, 2] },
      ]);
    }),
    { numRuns: 50 },
  );
});

test("a frame of exactly the limit is taken", () => {
  const [frame] = decodeAll([rawFrame(1, 1, 0, new Uint8Array(MAX_DATA_BYTES))]);
  assert.equal(frame?.data?.length, MAX_DATA_BYTES);
});

test("an oversized frame is reported before its bytes have come", () => {
  assert.deepEqual(plain(decodeAll([hex("ffffffff 00000001 01 00")])), [
    { streamId: 1, type: 1, flags: 0, length: 0xffffffff, data: undefined },
  ]);
});

test("a frame that lies in one chunk is not copied", () => {
  const chunk = Buffer.concat([rawFrame(1, 1, 0, hex("01")), rawFrame(3, 1, 0, hex("0203"))]);
  const frames = decodeAll([chunk]);
  assert.equal(frames.length, 2);
  for (const frame of frames) assert.equal(frame.data?.buffer, chunk.buffer);
});

test("memory grows with the bytes that came, not with the length that a header claims", () => {
  const before = process.memoryUsage().arrayBuffers;
  const decoders = Array.from({ length: 100 }, () => {
    const decoder = new FrameDecoder();
    decoder.push(Buffer.concat([hex("00400000 00000001 01 00"), new Uint8Array(1000)]));
    assert.equal(decoder.next(), undefined);
    return decoder;
  });
  // With an eager allocation it would be 400 MiB.
  assert.ok(process.memoryUsage().arrayBuffers - before < 20 << 20);
  assert.equal(decoders.length, 100);
});

test("a message that comes byte by byte is not copied again for each byte", () => {
  const size = 1 << 20;
  const bytes = rawFrame(1, 1, 0, new Uint8Array(size).fill(9));
  const decoder = new FrameDecoder();
  const buffers = new Set<unknown>();
  const allocate = Uint8Array.prototype.set;
  let copied = 0;
  Uint8Array.prototype.set = function (this: Uint8Array, source: ArrayLike<number>, offset?: number) {
    copied += source.length;
    allocate.call(this, source, offset);
  };
  try {
    for (let at = 0; at < bytes.length; at++) {
      decoder.push(bytes.subarray(at, at + 1));
      const frame = decoder.next();
      if (frame) buffers.add(frame.data?.buffer);
    }
  } finally {
    Uint8Array.prototype.set = allocate;
  }
  assert.equal(buffers.size, 1);
  // Each byte once into place, and at most twice more while the buffer doubles.
  assert.ok(copied >= bytes.length && copied <= 4 * bytes.length, `${copied} bytes copied`);
});

test("random bytes never throw, never hang, and never give more data than came", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 20 }), (chunks) => {
      const given = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      const frames = decodeAll(chunks);
      const taken = frames.reduce((sum, frame) => sum + HEADER_BYTES + (frame.data?.length ?? 0), 0);
      assert.ok(taken <= given);
    }),
  );
});

test("sealing a message over the limit says so", () => {
  const frame = newFrame().raw(new Uint8Array(MAX_DATA_BYTES + 1));
  assert.throws(
    () => sealFrame(frame, 1, FrameType.RESPONSE, 0),
    (error) => error instanceof TtrpcError && error.code === Code.RESOURCE_EXHAUSTED,
  );
});
