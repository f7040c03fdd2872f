// The shim's log lines, as logrus would write them.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createLog, timestamp } from "../../src/log/log.ts";
import { lossyLines } from "../../src/log/lossy-lines.ts";
import type { Platform } from "../../src/platform/platform.ts";

test("a timestamp is the one that Date gives, with nanoseconds", () => {
  const day = { min: 0n, max: 4_102_444_800_000n };
  fc.assert(
    fc.property(fc.bigInt(day), fc.integer({ min: 0, max: 999_999 }), (ms, ns) => {
      const expected = new Date(Number(ms)).toISOString().slice(0, -1);
      assert.equal(timestamp(ms * 1_000_000n + BigInt(ns)), `${expected}${String(ns).padStart(6, "0")}Z`);
    }),
  );
});

test("a timestamp has the day that Date gives at the edges of every month", () => {
  for (let month = 0; month < 12 * 431; month++) {
    for (const ms of [Date.UTC(1970, month, 1), Date.UTC(1970, month + 1, 1) - 86_400_000]) {
      assert.equal(timestamp(BigInt(ms) * 1_000_000n), `${new Date(ms).toISOString().slice(0, -1)}000000Z`);
    }
  }
});

test("a line quotes what is not plain, and debug lines come only when asked for", () => {
  const lines: string[] = [];
  const platform = { clock: { realtimeNs: () => 0n } } as Platform;
  const log = createLog(platform, false, (line) => lines.push(line));
  log.debug("not seen");
  log.error('it "broke"', { id: "c1", name: 'a"b', error: new Error("no such\nfile"), path: "" });
  assert.deepEqual(lines, [
    'time="1970-01-01T00:00:00.000000000Z" level=error msg="it \\"broke\\"" id=c1 name="a\\"b" error="no such\\nfile" path="" runtime=io.containerd.holdfast.v2\n',
  ]);
});

test("lines that find no room are counted, and said when there is room again; a line that was cut ends there", () => {
  let room = 8;
  let text = "";
  const write = (bytes: Uint8Array): number => {
    if (room === 0) return -1;
    const taken = bytes.subarray(0, room);
    room -= taken.length;
    text += Buffer.from(taken).toString();
    return taken.length;
  };
  const line = lossyLines(write, (words) => Buffer.from(words));
  for (const words of ["one\n", "two and more\n", "three\n", "four\n"]) line(words);
  assert.equal(text, "one\ntwo ");
  room = 1000;
  text = "";
  for (const words of ["five\n", "six\n"]) line(words);
  const loss = 'level=warning msg="lines were dropped" lines=2 runtime=io.containerd.holdfast.v2';
  assert.equal(text, `\n${loss}\nfive\nsix\n`);
});
