// The publisher before a daemon that is played frame by frame, on a clock that the test moves: minutes pass at once.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Publisher } from "../../src/events/publisher.ts";
import { topics } from "../../src/events/topics.ts";
import type { Log } from "../../src/log/log.ts";
import type { Descriptors, Files, Text } from "../../src/platform/platform.ts";
import { FrameType } from "../../src/ttrpc/frame.ts";
import { ManualClock, MemoryStream, rawFrame, settle } from "../ttrpc/memory.ts";

/** Each connection is a stream of its own. */
function bench() {
  const clock = new ManualClock();
  const streams: MemoryStream[] = [];
  const errors: string[] = [];
  const daemon = { isThere: true };
  const silent = (): void => {};
  const log: Log = { debug: silent, info: silent, warning: silent, error: (text) => errors.push(text) };
  const net = {
    connect: async () => {
      if (!daemon.isThere) throw new Error("nobody listens");
      const stream = new MemoryStream();
      streams.push(stream);
      return stream;
    },
  };
  const publisher = new Publisher(
    { clock, net: net as never, files: {} as Files, fds: {} as Descriptors, text: {} as Text },
    log,
    { namespace: "n", address: "/events", spill: { directory: "/bundle", isKept: false } },
  );
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 250) {
      clock.advance(250);
      await settle();
    }
  };
  return { clock, streams, errors, daemon, publisher, pass };
}

/** Acknowledges what comes on the newest connection. */
async function acknowledge(streams: readonly MemoryStream[]): Promise<void> {
  const stream = streams.at(-1);
  for (let frame = await stream?.frame(); frame !== undefined && stream !== undefined; ) {
    stream.receive(rawFrame(frame.streamId, FrameType.RESPONSE, 0, new Uint8Array(0)));
    await settle();
    if (stream.pending === 0) return;
    frame = await stream.frame();
  }
}

const started = (containerId: string) => ({ containerId, pid: 1 });

test("a daemon that takes connections and answers nothing, for half an hour, costs no event", async () => {
  const { streams, publisher, pass } = bench();
  for (const id of ["a", "b"]) publisher.publish(topics.start, started(id));
  await pass(1_800_000);
  assert.ok(streams.length > 100, `${streams.length} connections`);
  assert.deepEqual(publisher.waiting, ["/tasks/start", "/tasks/start"]);
});

test("a daemon that is away is looked for several times a second, and gets all when it is back", async () => {
  const { streams, daemon, publisher, pass } = bench();
  daemon.isThere = false;
  publisher.publish(topics.start, started("a"));
  await pass(600_000);
  daemon.isThere = true;
  await pass(500);
  assert.equal(streams.length, 1);
  await acknowledge(streams);
  assert.deepEqual(publisher.waiting, []);
});

test("an event that is too large for any message is refused at once, and keeps nobody waiting", async () => {
  const { errors, publisher } = bench();
  publisher.publish(topics.start, started("x".repeat(4 << 20)));
  assert.deepEqual(publisher.waiting, []);
  assert.deepEqual(errors, ["event is too large for any daemon"]);
  await publisher.flushed();
});

test("what was flushed was acknowledged", async () => {
  const { streams, publisher } = bench();
  publisher.publish(topics.start, started("a"));
  let isFlushed = false;
  const flushed = publisher.flushed().then(() => {
    isFlushed = true;
  });
  await settle();
  assert.equal(isFlushed, false);
  await acknowledge(streams);
  await flushed;
});

test("an event waits for the one before it", async () => {
  const { streams, publisher } = bench();
  for (const id of ["a", "b"]) publisher.publish(topics.start, started(id));
  await settle();
  assert.deepEqual([streams.length, streams[0]?.pending, publisher.waiting.length], [1, 1, 2]);
  await acknowledge(streams);
  assert.deepEqual(publisher.waiting, []);
});
