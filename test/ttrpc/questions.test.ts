// What a server writes down of requests for a successor of its process, and what it need not: questions that are answered at once. Their requests
// are taken from the kernel after the answer was handed over (socket-stream.ts), so that a successor finds what has no answer there.
import assert from "node:assert/strict";
import { test } from "node:test";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import type { Content, Records } from "../../src/platform/state-log.ts";
import { CallRecords, keptConnections } from "../../src/ttrpc/connection-record.ts";
import { decodeResponse, encodePayload, encodeRequest } from "../../src/ttrpc/envelope.ts";
import { FrameType } from "../../src/ttrpc/frame.ts";
import { TtrpcServer } from "../../src/ttrpc/server.ts";
import { EchoDefinition, Message, text } from "./echo.ts";
import { ManualClock, MemoryStream, rawFrame, settle } from "./memory.ts";

const FD = 7;

class KeptStream extends MemoryStream {
  readonly fd: number = FD;
}

class RecordsInMemory implements Records {
  readonly live = new Map<string, () => Content>();
  changes = 0;

  put(key: string, produce: () => Content): void {
    this.live.set(key, produce);
    this.changes++;
  }

  changed(): void {
    this.changes++;
  }

  flush(): void {}

  remove(key: string): void {
    if (this.live.delete(key)) this.changes++;
  }

  /** What a successor would find now. */
  get kept(): ReturnType<typeof keptConnections> {
    const written = [...this.live].map(([key, produce]) => {
      const content = produce();
      return [key, typeof content === "string" ? Buffer.from(content) : content] as const;
    });
    return keptConnections(new Map(written), (content) => Buffer.from(content).toString());
  }

  /** The streams whose requests are written down. */
  get calls(): number[] {
    return this.kept.flatMap(({ calls }) => calls.map(([id]) => id));
  }
}

/** A server whose handler answers "later" by a promise, and the rest at once. */
function serve(questions: readonly "unary"[]): {
  stream: KeptStream;
  records: RecordsInMemory;
  clock: ManualClock;
} {
  const clock = new ManualClock();
  const records = new RecordsInMemory();
  const server = new TtrpcServer(clock, {}, new CallRecords(records));
  const unary = (request: Message): Message | Promise<Message> =>
    request.text === "later" ? new Promise(() => {}) : request;
  server.register(EchoDefinition, { unary }, [], questions);
  const stream = new KeptStream();
  server.accept(stream);
  return { stream, records, clock };
}

function ask(streamId: number, body: string, timeoutMs?: number): Uint8Array {
  const parts = { service: "test.v1.Echo", method: "Unary", timeoutMs, metadata: new Map() };
  const writer = encodeRequest(parts, new BinaryWriter());
  return rawFrame(streamId, FrameType.REQUEST, 0, encodePayload(3, Message, text(body), writer).finish());
}

async function answered(stream: MemoryStream): Promise<[number, string]> {
  const { streamId, data } = await stream.frame();
  const { payload } = decodeResponse(data ?? new Uint8Array(0));
  return [streamId, Message.decode(payload ?? new Uint8Array(0)).text];
}

test("a question that is answered at once changes no record, and its answer is out before the request is done with", async () => {
  const { stream, records, clock } = serve(["unary"]);
  const before = records.changes;
  stream.receive(ask(1, "a", 1000));
  assert.equal(stream.pending, 1, "answered by the time that its bytes are taken");
  assert.equal(records.changes, before);
  assert.equal(clock.armed, 0);
  assert.deepEqual(await answered(stream), [1, "a"]);
});

test("other calls are written down, and gone from there when they are answered", async () => {
  const { stream, records } = serve([]);
  const before = records.changes;
  stream.receive(ask(1, "a"));
  assert.ok(records.changes > before);
  assert.deepEqual(records.calls, []);
  stream.receive(ask(3, "later"));
  assert.deepEqual(records.calls, [3]);
});

test("a question whose answer takes its time is written down, with its deadline", async () => {
  const { stream, records, clock } = serve(["unary"]);
  stream.receive(ask(1, "later", 1000));
  assert.deepEqual(records.calls, [1]);
  assert.equal(clock.armed, 1);
  clock.advance(1000);
  await settle();
  assert.deepEqual(records.calls, []);
});

test("a question whose answer the kernel does not take is written down until it does", async () => {
  const { stream, records } = serve(["unary"]);
  stream.stuck = true;
  stream.receive(ask(1, "a"));
  assert.deepEqual(records.calls, [1]);
  stream.drain();
  assert.deepEqual(records.calls, []);
});

test("a successor takes a question that has no answer for a new one, whatever else was written down before it", () => {
  const { stream, records } = serve(["unary"]);
  const seen: (number | undefined)[] = [];
  const { write } = stream;
  // The state is written before an answer leaves.
  stream.write = (bytes) => {
    seen.push(records.kept[0]?.lastId);
    write.call(stream, bytes);
  };
  stream.receive(ask(1, "later"));
  stream.receive(ask(3, "a"));
  stream.receive(ask(5, "b"));
  assert.deepEqual(seen, [1, 1]);
  assert.deepEqual(records.calls, [1]);
});

test("a malformed request leaves no record", () => {
  const { stream, records } = serve([]);
  stream.receive(rawFrame(1, FrameType.REQUEST, 0, Uint8Array.of(0x0a, 0x7f)));
  assert.equal(stream.pending, 1, "refused");
  assert.deepEqual(records.calls, []);
});
