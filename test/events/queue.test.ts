// The queue of events over a file that is kept in memory.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { PendingEvent } from "../../src/events/pending-event.ts";
import { EventQueue } from "../../src/events/queue.ts";
import type { Log } from "../../src/log/log.ts";
import type { Descriptors, Files, Text } from "../../src/platform/platform.ts";
import { type Content, noRecords, type Records } from "../../src/platform/state-log.ts";

/** One file without a name, with an end to write to and an end to read from */
function queueOverMemory(records: Records = noRecords): {
  queue: EventQueue;
  /** Another one, with the same files. */
  next: (records: Records) => EventQueue;
  opened: () => number;
} {
  let content = Buffer.alloc(0);
  let read = 0;
  let opened = 0;
  const fds: Partial<Descriptors> = {
    openAppend: () => {
      content = Buffer.alloc(0);
      read = 0;
      return ++opened;
    },
    openRead: () => {
      read = 0;
      return ++opened;
    },
    close: () => void opened--,
    write: (_fd, bytes) => {
      content = Buffer.concat([content, bytes]);
      return bytes.length;
    },
    read: (_fd, size) => {
      const bytes = content.subarray(read, read + size);
      read += bytes.length;
      return bytes;
    },
  };
  const text: Pick<Text, "encode" | "decode"> = {
    encode: (value) => new TextEncoder().encode(value),
    decode: (bytes) => new TextDecoder().decode(bytes),
  };
  const silent = (): void => {};
  const log: Log = { debug: silent, info: silent, warning: silent, error: (words) => assert.fail(words) };
  const platform = {
    fds: fds as Descriptors,
    files: { remove: silent } as unknown as Files,
    text: text as Text,
  };
  const next = (records: Records): EventQueue =>
    new EventQueue(platform, log, { directory: "/bundle", isKept: false }, records);
  return { queue: next(records), next, opened: () => opened };
}

const event = (topic: string, bytes = 10_000, key = ""): PendingEvent => ({
  topic,
  key,
  lasting: true,
  bytes: new Uint8Array(bytes),
  unanswered: 0,
  refusals: 0,
});

function take(queue: EventQueue): string | undefined {
  const first = queue.at(0);
  if (first !== undefined) queue.remove(first);
  return first?.topic;
}

test("events come out in their order, also those that come while earlier ones are in the file", () => {
  const { queue, opened } = queueOverMemory();
  const pushed = Array.from({ length: 60 }, (_, index) => String(index));
  for (const topic of pushed.slice(0, 50)) queue.push(event(topic));
  assert.equal(opened(), 2, "nothing went to the file");
  const taken = Array.from({ length: 20 }, () => take(queue));
  // There is room in memory now, and older ones in the file.
  for (const topic of pushed.slice(50)) queue.push(event(topic));
  while (queue.size > 0) taken.push(take(queue));
  assert.deepEqual(taken, pushed);
  assert.equal(opened(), 0, "the file stays open");
});

test("memory holds a bounded number of bytes", () => {
  const { queue } = queueOverMemory();
  for (let index = 0; index < 1000; index++) queue.push(event(String(index)));
  assert.equal(queue.size, 1000);
  assert.ok(queue.topics().length < 30, `${queue.topics().length} in memory`);
});

test("of events with one key one waits, and the next one does when that has gone", () => {
  const { queue } = queueOverMemory();
  for (let again = 0; again < 3; again++) queue.push(event("oom", 10, "oom c"));
  queue.push(event("oom", 10, "oom d"));
  assert.equal(queue.size, 2);
  assert.equal(take(queue), "oom");
  queue.push(event("oom", 10, "oom c"));
  assert.equal(queue.size, 2);
});

class KeptRecords implements Records {
  readonly live = new Map<string, () => Content>();

  put(key: string, produce: () => Content): void {
    this.live.set(key, produce);
  }

  changed(): void {}

  flush(): void {}

  remove(key: string): void {
    this.live.delete(key);
  }

  written(): Map<string, Uint8Array> {
    const bytesOf = (content: Content): Uint8Array =>
      typeof content === "string" ? new TextEncoder().encode(content) : content;
    return new Map([...this.live].map(([key, produce]) => [key, bytesOf(produce())]));
  }
}

test("a successor that has taken all events out of the file leaves no record of it: its descriptors' numbers are soon another's", () => {
  const records = new KeptRecords();
  const { queue, next, opened } = queueOverMemory(records);
  for (let index = 0; index < 14; index++) queue.push(event(String(index)));
  for (let index = 0; index < 11; index++) take(queue);
  assert.ok(records.live.has("spill"));
  const before = records.written();
  assert.equal(opened(), 2);
  const successor = next(records);
  successor.takeOver(before);
  assert.deepEqual(successor.topics(), ["11", "12", "13"]);
  assert.equal(opened(), 0, "its file is closed");
  assert.deepEqual(
    [...records.live.keys()].filter((key) => !key.startsWith("event ")),
    [],
  );
});
