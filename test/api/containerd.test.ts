// Our protos against containerd's: a wrong number or type here would be a wire that nobody else speaks.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import protobuf from "protobufjs";
import { allMessages, load, oracle, shape } from "./oracle.ts";

const GO_SOURCE = "/usr/share/gocode/src";
const CONTAINERD = "github.com/containerd/containerd";
const skip = existsSync(join(GO_SOURCE, CONTAINERD, "runtime/v2/task/shim.proto"))
  ? false
  : "Debian's package golang-github-containerd-containerd-dev is not installed";

/** What our shim tells beside containerd's figures, under a number of its own. */
const OUR_FIGURES = { 1000: "holdfast.metrics.v1.OutputFigures holdfast_output" };

/** Our file, containerd 1.6's, and what newer versions have added since, by message and number. */
const FILES: ReadonlyArray<[ours: string, theirs: string, added?: Record<string, Record<string, string>>]> = [
  ["task.proto", `${CONTAINERD}/runtime/v2/task/shim.proto`],
  ["mount.proto", `${CONTAINERD}/api/types/mount.proto`],
  ["process.proto", `${CONTAINERD}/api/types/task/task.proto`],
  ["task_events.proto", `${CONTAINERD}/api/events/task.proto`],
  ["forward.proto", `${CONTAINERD}/api/services/ttrpc/events/v1/events.proto`],
  [
    "runc_options.proto",
    `${CONTAINERD}/runtime/v2/runc/options/oci.proto`,
    { Options: { 12: "string task_api_address", 13: "uint32 task_api_version" } },
  ],
  [
    "runtime_options.proto",
    `${CONTAINERD}/pkg/runtimeoptions/v1/api.proto`,
    { Options: { 3: "bytes config_body" } },
  ],
  ["cgroups_v1.proto", "github.com/containerd/cgroups/stats/v1/metrics.proto", { Metrics: OUR_FIGURES }],
  [
    "cgroups_v2.proto",
    "github.com/containerd/cgroups/v2/stats/metrics.proto",
    { Metrics: OUR_FIGURES, MemoryStat: { 36: "uint64 max_usage", 37: "uint64 swap_max_usage" } },
  ],
  ["containers.proto", `${CONTAINERD}/api/services/containers/v1/containers.proto`],
  ["tasks.proto", `${CONTAINERD}/api/services/tasks/v1/tasks.proto`],
  ["events.proto", `${CONTAINERD}/api/services/events/v1/events.proto`],
  ["namespaces.proto", `${CONTAINERD}/api/services/namespaces/v1/namespace.proto`],
  ["version.proto", `${CONTAINERD}/api/services/version/v1/version.proto`],
  ["container_events.proto", `${CONTAINERD}/api/events/container.proto`],
  ["namespace_events.proto", `${CONTAINERD}/api/events/namespace.proto`],
  ["metric.proto", `${CONTAINERD}/api/types/metrics.proto`],
  ["descriptor.proto", `${CONTAINERD}/api/types/descriptor.proto`],
  ["leases.proto", `${CONTAINERD}/api/services/leases/v1/leases.proto`],
  ["introspection.proto", `${CONTAINERD}/api/services/introspection/v1/introspection.proto`],
  ["content.proto", `${CONTAINERD}/api/services/content/v1/content.proto`],
  [
    "images.proto",
    `${CONTAINERD}/api/services/images/v1/images.proto`,
    {
      CreateImageRequest: { 2: "google.protobuf.Timestamp source_date_epoch" },
      UpdateImageRequest: { 3: "google.protobuf.Timestamp source_date_epoch" },
      DeleteImageRequest: { 3: "containerd.types.Descriptor target" },
    },
  ],
  [
    "snapshots.proto",
    `${CONTAINERD}/api/services/snapshots/v1/snapshots.proto`,
    { CommitSnapshotRequest: { 5: "string parent" } },
  ],
  [
    "diff.proto",
    `${CONTAINERD}/api/services/diff/v1/diff.proto`,
    {
      ApplyRequest: { 4: "bool sync_fs" },
      DiffRequest: { 6: "google.protobuf.Timestamp source_date_epoch" },
    },
  ],
  ["image_events.proto", `${CONTAINERD}/api/events/image.proto`],
  ["platform.proto", `${CONTAINERD}/api/types/platform.proto`],
  ["google/rpc/status.proto", "github.com/gogo/googleapis/google/rpc/status.proto"],
  [
    "health.proto",
    "google.golang.org/grpc/debian/missing-sources/grpc/grpc-proto/master/grpc/health/v1/health.proto",
  ],
];

/** Imports are named from the root of the Go source; gogoproto and fieldpath only add options for Go. */
function resolve(target: string): string | null {
  if (target.startsWith("google/protobuf/") || target.startsWith("/")) return target;
  if (target.includes("gogo") || target.includes("fieldpath")) return null;
  if (target.startsWith("google/rpc/")) return join(GO_SOURCE, "github.com/gogo/googleapis", target);
  return join(GO_SOURCE, target);
}

function declared(root: protobuf.Root, file: string): protobuf.ReflectionObject[] {
  const found: protobuf.ReflectionObject[] = [];
  const visit = (namespace: protobuf.NamespaceBase): void => {
    for (const nested of namespace.nestedArray) {
      if (nested.filename?.endsWith(file)) found.push(nested);
      if (nested instanceof protobuf.Namespace) visit(nested);
    }
  };
  visit(root);
  return found;
}

for (const [ours, theirs, added = {}] of FILES) {
  test(`${ours} has the names, numbers and types of containerd 1.6`, { skip }, () => {
    const our = oracle(ours);
    const their = load([join(GO_SOURCE, theirs)], resolve);
    const names = declared(their, theirs).map((object) => object.fullName);
    assert.notEqual(names.length, 0);
    for (const object of declared(their, theirs)) {
      const counterpart = our.lookup(object.fullName);
      if (object instanceof protobuf.Type) {
        assert.ok(counterpart instanceof protobuf.Type, object.fullName);
        assert.deepEqual(shape(counterpart), { ...shape(object), ...added[object.name] }, object.fullName);
      } else if (object instanceof protobuf.Enum) {
        assert.ok(counterpart instanceof protobuf.Enum, object.fullName);
        assert.deepEqual({ ...counterpart.values }, { ...object.values });
      } else if (object instanceof protobuf.Service) {
        assert.ok(counterpart instanceof protobuf.Service, object.fullName);
        const methods = (service: protobuf.Service): (string | undefined)[][] =>
          service.methodsArray.map((method) => [
            method.name,
            method.resolvedRequestType?.fullName,
            method.resolvedResponseType?.fullName,
          ]);
        assert.deepEqual(methods(counterpart), methods(object));
      }
    }
    assert.deepEqual(
      declared(our, ours)
        .map((object) => object.fullName)
        .sort(),
      names.sort(),
    );
  });
}

test("what only newer versions of containerd have keeps its numbers", () => {
  const any = "google.protobuf.Any";
  const bootstrap = "containerd.runtime.bootstrap.v1";
  const root = oracle("bootstrap.proto", "runtime_info.proto");
  const messages = [...allMessages(root.lookup(bootstrap) as protobuf.Namespace)];
  messages.push(
    root.lookupType("containerd.types.RuntimeInfo"),
    root.lookupType("containerd.types.RuntimeVersion"),
  );
  assert.deepEqual(Object.fromEntries(messages.map((type) => [type.fullName.slice(1), shape(type)])), {
    [`${bootstrap}.BootstrapParams`]: {
      1: "string instance_id",
      2: "string namespace",
      3: `${bootstrap}.LogLevel log_level`,
      4: "string containerd_version",
      5: "string containerd_ttrpc_address",
      6: "string containerd_grpc_address",
      7: "string containerd_binary",
      8: `repeated ${bootstrap}.Extension extensions`,
      9: "string socket_dir",
    },
    [`${bootstrap}.Extension`]: { 1: `${any} value` },
    [`${bootstrap}.BootstrapResult`]: {
      1: "int32 version",
      2: "string address",
      3: "string protocol",
      4: `repeated ${bootstrap}.Capability capabilities`,
      5: "map string string metadata",
    },
    "containerd.types.RuntimeInfo": {
      1: "string name",
      2: "containerd.types.RuntimeVersion version",
      3: `${any} options`,
      4: `${any} features`,
      5: "map string string annotations",
    },
    "containerd.types.RuntimeVersion": { 1: "string version", 2: "string revision" },
  });
  assert.deepEqual(
    { ...root.lookupEnum(`${bootstrap}.LogLevel`).values },
    {
      LOG_LEVEL_INFO: 0,
      LOG_LEVEL_TRACE: -8,
      LOG_LEVEL_DEBUG: -4,
      LOG_LEVEL_WARN: 4,
      LOG_LEVEL_ERROR: 8,
      LOG_LEVEL_FATAL: 10,
      LOG_LEVEL_PANIC: 12,
    },
  );
});

test("no message contains itself, so decoding is never deeper than the protos are", () => {
  const root = oracle(...FILES.map(([ours]) => ours), "bootstrap.proto", "runtime_info.proto");
  const visit = (type: protobuf.Type, above: readonly protobuf.Type[]): void => {
    assert.ok(!above.includes(type), [...above, type].map(({ name }) => name).join(" > "));
    for (const { resolvedType } of type.fieldsArray) {
      if (resolvedType instanceof protobuf.Type) visit(resolvedType, [...above, type]);
    }
  };
  const messages = allMessages(root);
  assert.ok(messages.length > 50);
  for (const type of messages) visit(type, []);
});
