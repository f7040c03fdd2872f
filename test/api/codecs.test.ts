// The generated codecs against protobufjs, over arbitrary messages.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import protobuf from "protobufjs";
import type { Codec } from "../../src/api/any.ts";
import * as bootstrap from "../../src/api/generated/bootstrap.ts";
import * as cgroupsV1 from "../../src/api/generated/cgroups_v1.ts";
import * as cgroupsV2 from "../../src/api/generated/cgroups_v2.ts";
import * as forward from "../../src/api/generated/forward.ts";
import * as mount from "../../src/api/generated/mount.ts";
import * as process from "../../src/api/generated/process.ts";
import * as runcOptions from "../../src/api/generated/runc_options.ts";
import * as runtimeInfo from "../../src/api/generated/runtime_info.ts";
import * as runtimeOptions from "../../src/api/generated/runtime_options.ts";
import * as task from "../../src/api/generated/task.ts";
import * as taskEvents from "../../src/api/generated/task_events.ts";
import { allMessages, oracle } from "./oracle.ts";

type Message = Record<string, unknown>;

const PACKAGES: ReadonlyArray<[name: string, file: string, generated: Record<string, unknown>]> = [
  ["containerd.task.v2", "task.proto", task],
  ["containerd.v1.types", "process.proto", process],
  ["containerd.types", "mount.proto", mount],
  ["containerd.types", "runtime_info.proto", runtimeInfo],
  ["containerd.events", "task_events.proto", taskEvents],
  ["containerd.services.events.ttrpc.v1", "forward.proto", forward],
  ["containerd.runc.v1", "runc_options.proto", runcOptions],
  ["runtimeoptions.v1", "runtime_options.proto", runtimeOptions],
  ["containerd.runtime.bootstrap.v1", "bootstrap.proto", bootstrap],
  ["io.containerd.cgroups.v1", "cgroups_v1.proto", cgroupsV1],
  ["io.containerd.cgroups.v2", "cgroups_v2.proto", cgroupsV2],
];

const MAX = 2n ** 64n - 1n;
const EDGES = [0n, 1n, 127n, 128n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n + 1n, 2n ** 63n - 1n];
const uint64 = fc.oneof(fc.constantFrom(...EDGES, 2n ** 63n, MAX), fc.bigInt(0n, MAX));
const int64 = fc.oneof(fc.constantFrom(...EDGES, -1n, -(2n ** 63n)), fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n));
const uint32 = fc.oneof(
  fc.constantFrom(0, 127, 128, 2 ** 31, 2 ** 32 - 1),
  fc.integer({ min: 0, max: 2 ** 32 - 1 }),
);
const int32 = fc.oneof(fc.constantFrom(0, -1, -(2 ** 31), 2 ** 31 - 1), fc.integer());
const text = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.constantFrom("", "\ufeffid", "\u0000", "x".repeat(200), "é".repeat(100)),
);
const bytes = fc.uint8Array({ maxLength: 300 });

function scalar(field: protobuf.Field): fc.Arbitrary<unknown> {
  const { resolvedType } = field;
  if (resolvedType instanceof protobuf.Type) return message(resolvedType);
  if (resolvedType instanceof protobuf.Enum) return fc.constantFrom(...Object.values(resolvedType.values));
  const arbitrary = { uint64, int64, uint32, int32, string: text, bytes, bool: fc.boolean() }[field.type];
  if (arbitrary === undefined) throw new Error(`${field.fullName}: no arbitrary for ${field.type}`);
  return arbitrary;
}

function fieldValue(field: protobuf.Field): fc.Arbitrary<unknown> {
  if (field.map) {
    const key = text.filter((name) => name !== "__proto__");
    return fc.dictionary(key, scalar(field), { maxKeys: 3, noNullPrototype: true });
  }
  if (field.repeated) return fc.array(scalar(field), { maxLength: 3 });
  const isMessage = field.resolvedType instanceof protobuf.Type;
  const isOptional = field.options?.proto3_optional === true;
  return isMessage || isOptional ? fc.option(scalar(field), { nil: undefined }) : scalar(field);
}

function message(type: protobuf.Type): fc.Arbitrary<Message> {
  const fields = type.fieldsArray.map((field) => [camel(field.name), fieldValue(field)]);
  return fc.record(Object.fromEntries(fields), { noNullPrototype: true });
}

function camel(name: string): string {
  const [first = "", ...rest] = name.split("_");
  return first + rest.map((word) => word.slice(0, 1).toUpperCase() + word.slice(1)).join("");
}

/** Our message as protobufjs takes and gives it: names as in the .proto, 64 bits as text, nothing that is not set. */
function forOracle(type: protobuf.Type, ours: Message): Message {
  const value = (field: protobuf.Field, ofOurs: unknown): unknown => {
    if (typeof ofOurs === "bigint") return ofOurs.toString();
    if (ofOurs instanceof Uint8Array) return Buffer.from(ofOurs).toString("base64");
    if (field.resolvedType instanceof protobuf.Type) return forOracle(field.resolvedType, ofOurs as Message);
    return ofOurs;
  };
  const result: Message = {};
  for (const field of type.fieldsArray) {
    const ofOurs = ours[camel(field.name)];
    if (ofOurs === undefined) continue;
    result[field.name] = Array.isArray(ofOurs)
      ? ofOurs.map((item) => value(field, item))
      : value(field, ofOurs);
  }
  return result;
}

function codecOf(generated: Record<string, unknown>, name: string): Codec<Message> {
  const found = generated[name];
  assert.ok(typeof found === "object" && found !== null && "encode" in found && "decode" in found, name);
  return found as Codec<Message>;
}

for (const [packageName, file, generated] of PACKAGES) {
  const root = oracle(file).lookup(packageName) as protobuf.Namespace;
  const types = allMessages(root).filter((type) => type.filename?.endsWith(file));

  test(`${file}: what we write, protobufjs reads, and the other way round`, () => {
    assert.notEqual(types.length, 0);
    for (const type of types) {
      const codec = codecOf(generated, type.name);
      const property = fc.property(message(type), (ours) => {
        const same = forOracle(type, ours);
        const read = type.toObject(type.decode(codec.encode(ours).finish()), {
          longs: String,
          bytes: String,
          defaults: true,
        });
        for (const [name, value] of Object.entries(read)) if (value === null) delete read[name];
        if (ours.socketDir === undefined) delete read.socket_dir;
        assert.deepEqual(plain(read), plain(same));
        assert.deepEqual(codec.decode(Uint8Array.from(type.encode(type.fromObject(same)).finish())), ours);
      });
      fc.assert(property, { numRuns: 40 });
    }
  });
}

/** Without nulls that stand for messages not set, at any depth; prototypes do not count. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_key, inner: unknown) => (inner === null ? undefined : inner)));
}

test("unknown fields of a newer peer are passed over", () => {
  const { StateRequest } = task;
  const known = StateRequest.encode({ id: "a", execId: "b" }).finish();
  const unknown = [0xa2, 0x06, 3, 1, 2, 3, 0xa8, 0x06, 0x96, 0x01, 0xad, 0x06, 1, 2, 3, 4];
  assert.deepEqual(StateRequest.decode(Uint8Array.from([...unknown, ...known, ...unknown])), {
    id: "a",
    execId: "b",
  });
});

test("bytes that are cut short or no message at all are refused, never read past their end", () => {
  const { CreateTaskRequest } = task;
  const request = {
    id: "container",
    bundle: "/run/b",
    rootfs: [{ type: "bind", source: "/", target: "", options: ["ro"] }],
  };
  const rest = { terminal: false, stdin: "", stdout: "", stderr: "", checkpoint: "", parentCheckpoint: "" };
  const whole = CreateTaskRequest.encode({ ...request, ...rest }).finish();
  assert.throws(() => CreateTaskRequest.decode(whole.subarray(0, whole.length - 1)));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (noise) => {
      try {
        CreateTaskRequest.decode(noise);
      } catch (error) {
        assert.ok(error instanceof Error);
      }
    }),
  );
});
