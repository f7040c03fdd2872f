// The options of containerd's first runtime, as its clients of 1.x send them to runtimes whose names they do not know.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import protobuf from "protobufjs";
import { RUNC_CHECKPOINT_OPTIONS, RUNC_OPTIONS, unpack } from "../../src/api/any.ts";
import { CheckpointOptions, Options } from "../../src/api/generated/runc_options.ts";
import { withoutV1 } from "../../src/api/v1-options.ts";
import { load, shape } from "./oracle.ts";

const V1 = `syntax = "proto3";
package containerd.linux.runc;
message CreateOptions {
  bool no_pivot_root = 1; bool open_tcp = 2; bool external_unix_sockets = 3; bool terminal = 4; bool file_locks = 5; repeated string empty_namespaces = 6;
  string cgroups_mode = 7; bool no_new_keyring = 8; string shim_cgroup = 9; uint32 io_uid = 10; uint32 io_gid = 11; string criu_work_path = 12;
  string criu_image_path = 13;
}
message CheckpointOptions {
  bool exit = 1; bool open_tcp = 2; bool external_unix_sockets = 3; bool terminal = 4; bool file_locks = 5; repeated string empty_namespaces = 6;
  string cgroups_mode = 7; string work_path = 8; string image_path = 9;
}`;
const CREATE = "containerd.linux.runc.CreateOptions";
const CHECKPOINT = "containerd.linux.runc.CheckpointOptions";

const { root } = protobuf.parse(V1, { keepCase: true });

function encoded(type: string, fields: Record<string, unknown>): Uint8Array {
  return root.lookupType(type).encode(fields).finish();
}

/** In the order of the numbers, and with none left out: whichever is mixed up with another shows. */
const HOW = { open_tcp: true, external_unix_sockets: true, terminal: true, file_locks: true };

test("what a container is made with", () => {
  const own = { no_pivot_root: true, no_new_keyring: true, shim_cgroup: "/s", io_uid: 70_000, io_gid: 9 };
  const paths = { criu_work_path: "/work", criu_image_path: "/image" };
  const ignored = { ...HOW, empty_namespaces: ["network", "ipc"], cgroups_mode: "soft" };
  const any = { typeUrl: CREATE, value: encoded(CREATE, { ...own, ...paths, ...ignored }) };
  assert.deepEqual(unpack(withoutV1(any), RUNC_OPTIONS, Options), {
    ...Options.decode(new Uint8Array()),
    noPivotRoot: true,
    noNewKeyring: true,
    shimCgroup: "/s",
    ioUid: 70_000,
    ioGid: 9,
    criuWorkPath: "/work",
    criuImagePath: "/image",
  });
});

test("what a container is checkpointed with", () => {
  const fields = { ...HOW, exit: true, empty_namespaces: ["network", "ipc"], cgroups_mode: "soft" };
  const paths = { work_path: "/work", image_path: "/image" };
  const value = encoded(CHECKPOINT, { ...fields, ...paths });
  const any = { typeUrl: `type.googleapis.com/${CHECKPOINT}`, value };
  assert.deepEqual(unpack(withoutV1(any), RUNC_CHECKPOINT_OPTIONS, CheckpointOptions), {
    exit: true,
    openTcp: true,
    externalUnixSockets: true,
    terminal: true,
    fileLocks: true,
    emptyNamespaces: ["network", "ipc"],
    cgroupsMode: "soft",
    workPath: "/work",
    imagePath: "/image",
  });
});

test("nothing in it is nothing, other types stay as they are, and bytes that are cut are refused", () => {
  const empty = withoutV1({ typeUrl: CREATE, value: new Uint8Array() });
  assert.deepEqual(unpack(empty, RUNC_OPTIONS, Options), Options.decode(new Uint8Array()));
  const other = { typeUrl: RUNC_OPTIONS, value: new Uint8Array([8, 1]) };
  assert.equal(withoutV1(other), other);
  const value = encoded(CREATE, { shim_cgroup: "/a-group" }).subarray(0, -1);
  assert.throws(() => withoutV1({ typeUrl: CREATE, value }));
});

const GO_SOURCE = "/usr/share/gocode/src";
const THEIRS = `${GO_SOURCE}/github.com/containerd/containerd/runtime/linux/runctypes/runc.proto`;

test("the fields here are containerd's", {
  skip: existsSync(THEIRS)
    ? false
    : "Debian's package golang-github-containerd-containerd-dev is not installed",
}, () => {
  const resolve = (target: string): string | null =>
    target.startsWith("gogoproto/") ? null : target.replace(/^github\.com/, `${GO_SOURCE}/github.com`);
  const theirs = load([THEIRS], resolve);
  for (const type of [CREATE, CHECKPOINT]) {
    assert.deepEqual(shape(root.lookupType(type)), shape(theirs.lookupType(type)));
  }
});
