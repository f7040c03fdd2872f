// `start` as each daemon calls it: options on stdin and a plain address back, or, since containerd 2.3, parameters and a result in protobuf.
// The bytes are written here by hand, as that daemon writes them.
import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { RUNC_OPTIONS } from "../../src/api/any.ts";
import { Any } from "../../src/api/generated/google/protobuf/any.ts";
import { TaskV3Definition } from "../../src/api/task-v3.ts";
import { listen, nodeClock } from "../../src/platform/node.ts";
import { TtrpcServer } from "../../src/ttrpc/server.ts";
import { Code } from "../../src/ttrpc/status.ts";
import { run } from "../harness/command.ts";
import { addressFile, Playground, type StartOptions } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { shimSocket } from "../harness/leftovers.ts";
import { failsOnGoShim } from "../harness/runtime.ts";
import { refusal, runcOptions, ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
after(() => place.close());

const notOurs = failsOnGoShim("1.6's knows nothing of it");

// --- the wire, by hand

function varint(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return [...bytes, Number(rest)];
}

function field(number: number, value: string | number | Uint8Array): number[] {
  if (typeof value === "number") return [...varint(BigInt(number << 3)), ...varint(BigInt(value))];
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  return [...varint(BigInt((number << 3) | 2)), ...varint(BigInt(bytes.length)), ...bytes];
}

/** BootstrapParams of containerd 2.3, with what a test changes in it. */
function params(
  id: string,
  changes: Record<number, string | number> = {},
  extensions: Any[] = [],
): Uint8Array {
  const fields: Record<number, string | number> = {
    1: id,
    2: place.namespace,
    3: 0,
    4: "2.3.4",
    5: `${place.address}.ttrpc`,
    6: place.address,
    7: "/usr/bin/containerd",
    ...changes,
  };
  const written = Object.entries(fields).flatMap(([number, value]) => field(Number(number), value));
  const extended = extensions.flatMap((any) => field(8, new Uint8Array(field(1, Any.encode(any).finish()))));
  return new Uint8Array([...written, ...extended]);
}

/** What the daemon accepts: BootstrapResult, these fields in this order and nothing else. */
function result(address: string): Buffer {
  return Buffer.from([...field(1, 3), ...field(2, address), ...field(3, "ttrpc")]);
}

async function startWith(id: string, stdin: Uint8Array, options: StartOptions = {}): Promise<string> {
  const output = await place.invoke([...place.flags(id), "start"], place.bundle(id), { ...options, stdin });
  assert.deepEqual([output.status, output.stderr], [0, ""]);
  return output.stdout;
}

/** A `start` that must fail; returns what it says. */
async function refused(id: string, options: StartOptions): Promise<string> {
  const output = await place.invoke([...place.flags(id), "start"], place.bundle(id), options);
  assert.notEqual(output.status, 0, output.stdout);
  assert.equal(output.stdout, "");
  assert.ok(!existsSync(shimSocket(place.address, place.namespace, id)), "its socket stays");
  return output.stderr;
}

async function leave(id: string, address: string): Promise<void> {
  await place.forget(await ShimClient.connect(address), id);
}

// --- the tests

test("containerd before 2.3 writes options, or nothing, and reads the plain address", async () => {
  place.makeBundle("plain", { args: ["true"] });
  const expected = `unix://${shimSocket(place.address, place.namespace, "plain")}`;
  assert.equal(await startWith("plain", new Uint8Array(0)), expected);
  assert.equal(
    await startWith("plain", Any.encode(runcOptions({ systemdCgroup: false })).finish()),
    expected,
  );
  assert.equal(addressFile(place.bundle("plain")), expected);
  await leave("plain", expected);
});

test("containerd 2.3 writes parameters and reads a result, byte for byte", { skip: notOurs }, async () => {
  const bundle = place.makeBundle("params", { args: ["sh", "-c", "exit 4"] });
  const address = `unix://${shimSocket(place.address, place.namespace, "params")}`;
  assert.deepEqual(Buffer.from(await startWith("params", params("params"))), result(address));
  // A second start of the same group finds the first one's shim.
  assert.deepEqual(Buffer.from(await startWith("params", params("params"))), result(address));
  assert.equal(addressFile(bundle), address);
  // Version 3 was promised; daemons of before a downgrade speak version 2. Both are served on the one socket.
  const v3 = await ShimClient.connect(address, TaskV3Definition.fullName);
  const v2 = await ShimClient.connect(address);
  await v3.create("params", bundle);
  const pid = await v2.start("params");
  assert.equal((await v3.connect("params")).taskPid, pid);
  assert.equal((await v3.wait("params")).exitStatus, 4);
  assert.equal((await v2.delete("params")).exitStatus, 4);
  await refusal(Code.NOT_FOUND, v3.state("params"));
  await place.events.arrived("/tasks/delete", "params");
  v2.close();
  await place.forget(v3, "params");
});

test("the parameters' socket directory, log level and unix:// addresses count; what is new in them does no harm", {
  skip: notOurs,
}, async () => {
  const bundle = place.makeBundle("all", { args: ["true"] });
  const directory = join(place.directory, "sockets/deep");
  const unknown = { typeUrl: "containerd.io/cri.v9.Unheard", value: new Uint8Array([1, 2, 3]) };
  const stdin = params(
    "all",
    { 3: -4, 5: `unix://${place.address}.ttrpc`, 6: `unix://${place.address}`, 9: directory, 77: "later" },
    [unknown],
  );
  const answer = await startWith("all", stdin, { env: { TTRPC_ADDRESS: "" } });
  const [name = ""] = readdirSync(directory);
  const address = `unix://${directory}/${name}`;
  assert.deepEqual(Buffer.from(answer), result(address));
  assert.equal(statSync(directory).mode & 0o777, 0o700);
  assert.equal(statSync(join(directory, name)).mode & 0o777, 0o600);
  const shim = await ShimClient.connect(address);
  await eventually("a line of level debug", () => place.log.includes("level=debug"));
  await shim.create("all", bundle);
  await shim.start("all");
  await place.events.arrived("/tasks/exit", "all");
  await shim.delete("all");
  await place.forget(shim, "all");
  await eventually("its socket to go", () => readdirSync(directory).length === 0);
});

test("somebody else's parameters are refused", { skip: notOurs }, async () => {
  place.makeBundle("mine", { args: ["true"] });
  assert.match(await refused("mine", { stdin: params("other") }), /unknown type other/);
  assert.match(
    await refused("mine", { stdin: params("mine", { 2: "other-namespace" }) }),
    /unknown type mine/,
  );
  assert.match(await refused("mine", { stdin: new Uint8Array([0xff, 0xff, 0xff]) }), /neither options nor/);
  // Also where there is a shim already, whom it would be given.
  const address = await place.start("mine");
  const output = await place.invoke([...place.flags("mine"), "start"], place.bundle("mine"), {
    stdin: params("other"),
  });
  assert.notEqual(output.status, 0);
  await leave("mine", address);
});

test("shim_cgroup puts the shim, and not its container, into a cgroup", { skip: notOurs }, async () => {
  const root = existsSync("/sys/fs/cgroup/cgroup.controllers") ? "/sys/fs/cgroup" : "/sys/fs/cgroup/pids";
  const group = join(root, place.namespace, "shims");
  const missing = Any.encode(runcOptions({ shimCgroup: `/${place.namespace}/nowhere` })).finish();
  place.makeBundle("grouped", { args: ["sleep", "1000"] });
  assert.match(
    await refused("grouped", { stdin: missing }),
    /failed to join cgroup .*nowhere: no such cgroup/,
  );
  // It was bound by then.
  assert.equal(existsSync(shimSocket(place.address, place.namespace, "grouped")), false);
  mkdirSync(group, { recursive: true });
  const options = runcOptions({ shimCgroup: `/${place.namespace}/shims` });
  assert.equal(options.typeUrl, RUNC_OPTIONS);
  const groupOf = (pid: number): string => readFileSync(`/proc/${pid}/cgroup`, "utf8");
  for (const stdin of [Any.encode(options).finish(), params("grouped", {}, [options])]) {
    await startWith("grouped", stdin);
    const shim = await ShimClient.connect(addressFile(place.bundle("grouped")));
    const { shimPid } = await shim.connect("grouped");
    assert.match(groupOf(shimPid), new RegExp(`:/${place.namespace}/shims$`, "m"));
    const pid = await shim.create("grouped", place.bundle("grouped"));
    assert.doesNotMatch(groupOf(pid), /shims$/m);
    await place.endContainer(shim, "grouped");
    await shim.shutdown("grouped").catch(() => {});
    shim.close();
    await eventually("the shim to end", () => !existsSync(`/proc/${shimPid}`));
  }
  // The keeper is in it for a moment longer than its shim.
  await eventually("the group to be empty", () => readFileSync(join(group, "cgroup.procs"), "utf8") === "");
  rmdirSync(group);
  await place.removeBundle("grouped");
});

test("SCHED_CORE gives a shim and its container cores of their own, or says that the kernel cannot", {
  skip: notOurs,
}, async () => {
  /** The cookie of a process: PR_SCHED_CORE, PR_SCHED_CORE_GET of a thread. */
  const cookieOf = async (pid: number): Promise<string> => {
    const program = `my $c = pack("Q", 0); syscall(157, 62, 0, ${pid}, 0, $c) == 0 or exit 1; print unpack("Q", $c)`;
    return (await run(["perl", "-e", program])).stdout;
  };
  place.makeBundle("core", { args: ["sleep", "1000"] });
  const options = { env: { SCHED_CORE: "1" } };
  if ((await cookieOf(process.pid)) === "") {
    assert.match(await refused("core", options), /enable sched core support: /);
    await place.removeBundle("core");
    return;
  }
  const shim = await ShimClient.connect(await place.start("core", options));
  const { shimPid } = await shim.connect("core");
  const pid = await shim.create("core", place.bundle("core"));
  const cookie = await cookieOf(shimPid);
  assert.notEqual(cookie, "0");
  assert.equal(await cookieOf(pid), cookie);
  assert.equal(await cookieOf(process.pid), "0");
  await place.endContainer(shim, "core");
  await place.forget(shim, "core");
});

const NOBODY = 65534;
/** Connects as another user, sends a call, and prints how many bytes came back. */
async function callAs(uid: number, socket: string): Promise<string> {
  const request = Buffer.from([...field(1, "containerd.task.v2.Task"), ...field(2, "Connect")]);
  const frame = Buffer.alloc(10 + request.length);
  frame.writeUInt32BE(request.length, 0);
  frame.writeUInt32BE(1, 4);
  frame.writeUInt8(1, 8);
  request.copy(frame, 10);
  const program = `use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "connect: $!"; $SIG{PIPE} = "IGNORE"; syswrite $s, pack("H*", $ARGV[1]); print sysread($s, my $b, 10) || 0`;
  const argv = ["setpriv", `--reuid=${uid}`, "--clear-groups", "perl", "-e", program, socket];
  const output = await run([...argv, frame.toString("hex")]);
  return output.stdout || output.stderr;
}

test("who is not the shim's user gets no answer, even when somebody has opened the socket to all", {
  skip: failsOnGoShim("it relies on the mode alone"),
}, async () => {
  place.makeBundle("peers", { args: ["true"] });
  chmodSync(place.directory, 0o711);
  const directory = join(place.directory, "open");
  await startWith("peers", params("peers", { 9: directory }));
  const address = addressFile(place.bundle("peers"));
  const socket = address.replace("unix://", "");
  chmodSync(directory, 0o711);
  assert.match(await callAs(NOBODY, socket), /Permission denied/);
  chmodSync(socket, 0o666);
  assert.equal(await callAs(NOBODY, socket), "0");
  assert.equal(await callAs(0, socket), "10");
  await leave("peers", address);
});

test("a shim of another user than root serves that user and nobody else", {
  skip: failsOnGoShim("it has no such check"),
}, async () => {
  const bundle = place.makeBundle("rootless", { args: ["true"] });
  chmodSync(place.directory, 0o711);
  for (let path = bundle; path !== place.directory; path = join(path, "..")) chmodSync(path, 0o711);
  for (const path of ["", "config.json", "log"].map((name) => join(bundle, name)))
    chownSync(path, NOBODY, NOBODY);
  const binary = join(place.directory, "anybodys");
  copyFileSync(place.binary, binary);
  chmodSync(binary, 0o755);
  const directory = join(place.directory, "nobodys");
  mkdirSync(directory);
  chownSync(directory, NOBODY, NOBODY);
  const argv = [
    "setpriv",
    `--reuid=${NOBODY}`,
    "--clear-groups",
    binary,
    ...place.flags("rootless"),
    "start",
  ];
  const output = await run(argv, { cwd: bundle, stdin: params("rootless", { 9: directory }) });
  assert.deepEqual([output.status, output.stderr], [0, ""]);
  const socket = addressFile(bundle).replace("unix://", "");
  assert.equal(await callAs(NOBODY, socket), "10");
  assert.equal(await callAs(0, socket), "0");
  process.kill(await pidOf("rootless"), "SIGTERM");
  await eventually("its socket to go", () => !existsSync(socket));
  await place.removeBundle("rootless");
});

/** The pid of the shim that was started with this id. */
async function pidOf(id: string): Promise<number> {
  const output = await run(["pgrep", "-f", `${place.namespace} .*-id ${id} start`]);
  return Number(output.stdout.trim());
}

test("a group's shim that has version 3 of the task API alone, as Go's of containerd 2, is answered with it", {
  skip: notOurs,
}, async () => {
  const path = shimSocket(place.address, place.namespace, "newer");
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const server = new TtrpcServer(nodeClock);
  server.register(TaskV3Definition, {});
  const listener = await listen(path, 0o600, (stream) => server.accept(stream));
  try {
    const annotations = { "io.containerd.runc.v2.group": "newer" };
    place.makeBundle("newer-member", { args: ["sleep", "1000"], annotations });
    const answer: unknown = JSON.parse(await place.start("newer-member"));
    assert.deepEqual(answer, { version: 3, address: `unix://${path}`, protocol: "ttrpc" });
    assert.equal(addressFile(place.bundle("newer-member")), `unix://${path}`);
  } finally {
    listener.close();
    server.close();
    rmSync(path, { force: true });
    await place.removeBundle("newer-member");
  }
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
