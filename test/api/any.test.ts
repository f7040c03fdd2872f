import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import * as any from "../../src/api/any.ts";
import { Options, ProcessDetails } from "../../src/api/generated/runc_options.ts";
import { TaskExit } from "../../src/api/generated/task_events.ts";
import { nsFromTimestamp, timestampFromNs } from "../../src/api/timestamp.ts";
import { oracle } from "./oracle.ts";

test("what is packed is unpacked again, by its own type only", () => {
  const packed = any.pack(any.RUNC_PROCESS_DETAILS, ProcessDetails, { execId: "e1" });
  assert.equal(packed.typeUrl, "containerd.runc.v1.ProcessDetails");
  assert.deepEqual(any.unpack(packed, any.RUNC_PROCESS_DETAILS, ProcessDetails), { execId: "e1" });
  assert.equal(any.unpack(packed, any.RUNC_OPTIONS, Options), undefined);
});

test("a type URL with Google's prefix is accepted", () => {
  const { value } = any.pack(any.RUNC_PROCESS_DETAILS, ProcessDetails, { execId: "e1" });
  const typeUrl = `type.googleapis.com/${any.RUNC_PROCESS_DETAILS}`;
  assert.deepEqual(any.unpack({ typeUrl, value }, any.RUNC_PROCESS_DETAILS, ProcessDetails), {
    execId: "e1",
  });
});

test("a payload that is malformed throws rather than giving half a message", () => {
  const broken = { typeUrl: any.TASK_EXIT, value: Uint8Array.from([0x0a, 9, 1]) };
  assert.throws(() => any.unpack(broken, any.TASK_EXIT, TaskExit));
});

test("each type URL names a message that there is", () => {
  const root = oracle(
    "task_events.proto",
    "runc_options.proto",
    "runtime_options.proto",
    "cgroups_v1.proto",
    "cgroups_v2.proto",
  );
  const urls = Object.values(any).filter((value) => typeof value === "string");
  const ours = urls.filter((url) => !url.startsWith("types.containerd.io/"));
  assert.equal(ours.length, 16);
  for (const url of ours) assert.equal(root.lookupType(url).fullName, `.${url}`);
});

test("a time is the same after the way to a timestamp and back", () => {
  assert.deepEqual(timestampFromNs(1_700_000_000_123_456_789n), {
    seconds: 1_700_000_000n,
    nanos: 123_456_789,
  });
  assert.deepEqual(timestampFromNs(-1n), { seconds: -1n, nanos: 999_999_999 });
  fc.assert(
    fc.property(fc.bigInt(-(2n ** 62n), 2n ** 62n), (ns) => {
      const timestamp = timestampFromNs(ns);
      assert.equal(nsFromTimestamp(timestamp), ns);
      assert.ok(timestamp.nanos >= 0 && timestamp.nanos < 1e9);
    }),
  );
});
