// Malformed and oversized ttrpc traffic at the real shim: it answers or hangs up, and goes on serving the others.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { after, test } from "node:test";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { TaskDefinition } from "../../src/api/generated/task.ts";
import { Code } from "../../src/ttrpc/status.ts";
import { addressFile, Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { memoryOf, openFiles } from "../harness/processes.ts";
import { failsOnGoShim, isSanitizerBuild } from "../harness/runtime.ts";
import { refusal, ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
const shim = await place.shim("wire", { args: ["sleep", "1000"] });
await shim.create("wire", place.bundle("wire"));
await shim.start("wire");
const { shimPid } = await shim.connect("wire");
const path = addressFile(place.bundle("wire")).replace("unix://", "");
after(async () => {
  shim.close();
  await place.close();
});

const MAX_DATA = 4 * 1024 * 1024;

function header(length: number, stream: number, type: number, flags = 0): Buffer {
  const bytes = Buffer.alloc(10);
  bytes.writeUInt32BE(length, 0);
  bytes.writeUInt32BE(stream, 4);
  bytes.writeUInt8(type, 8);
  bytes.writeUInt8(flags, 9);
  return bytes;
}

async function open(): Promise<Socket> {
  const socket = connect(path);
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

/** Collects what the shim sends until there are `count` bytes or it hangs up. */
async function read(socket: Socket, count: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk as Buffer);
    if (chunks.reduce((sum, part) => sum + part.length, 0) >= count) break;
  }
  return Buffer.concat(chunks);
}

/** The most memory that a process ever had, in KiB. */
function peakOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/status`, "utf8").match(/^VmHWM:\s+(\d+)/m)?.[1] ?? Number.NaN);
}

async function stillServes(): Promise<void> {
  assert.equal((await shim.state("wire")).status, 2);
  const other = await ShimClient.connect(path);
  assert.equal((await other.connect("wire")).shimPid, shimPid);
  other.close();
}

test("an unknown service and an unknown method are refused with UNIMPLEMENTED", async () => {
  const stranger = await ShimClient.connect(path, "containerd.task.v9.Task");
  assert.match(await refusal(Code.UNIMPLEMENTED, stranger.state("wire")), /containerd\.task\.v9\.Task/);
  stranger.close();
  const method = { ...TaskDefinition.methods.state, name: "Nonesuch" };
  const call = shim.connection.call(TaskDefinition.fullName, method, { id: "wire", execId: "" });
  assert.match(await refusal(Code.UNIMPLEMENTED, call), /Nonesuch/);
  await stillServes();
});

test("the task service of containerd 2, version 3, is served on the same socket", {
  skip: failsOnGoShim("containerd 1.6's shim has version 2 only"),
}, async () => {
  const v3 = await ShimClient.connect(path, "containerd.task.v3.Task");
  assert.equal((await v3.state("wire")).status, 2);
  v3.close();
});

test("a frame of more than 4 MiB is refused with RESOURCE_EXHAUSTED, and the connection stays in step", async () => {
  const socket = await open();
  const size = MAX_DATA + 1;
  socket.write(header(size, 1, 1));
  socket.write(Buffer.alloc(size, 0x61));
  const answer = await read(socket, 10);
  assert.equal(answer.readUInt32BE(4), 1);
  assert.equal(answer.readUInt8(8), 2);
  assert.match(answer.toString("latin1"), /exceed|too large|maximum|over the limit/);
  socket.destroy();
  await stillServes();
});

test("a frame that promises 4 GiB and brings nothing costs no memory", async () => {
  const before = memoryOf(shimPid).rss;
  const sockets = await Promise.all(Array.from({ length: 5 }, open));
  for (const socket of sockets) socket.write(header(0xffffffff, 1, 1));
  await stillServes();
  const grown = memoryOf(shimPid).rss - before;
  if (!isSanitizerBuild) assert.ok(grown < 8192, `grew by ${grown} KiB`);
  for (const socket of sockets) socket.destroy();
  await stillServes();
});

test("a request that is not protobuf is refused on its stream or hung up on", async () => {
  const socket = await open();
  const garbage = Buffer.from("ffffffffffffffffffff", "hex");
  socket.write(Buffer.concat([header(garbage.length, 1, 1), garbage]));
  const answer = await read(socket, 10);
  if (answer.length > 0) assert.deepEqual([answer.readUInt32BE(4), answer.readUInt8(8)], [1, 2]);
  socket.destroy();
  await stillServes();
});

test("a request whose payload is not the method's message is refused", async () => {
  // Field 1 claims more bytes than there are.
  const cutShort = {
    encode: (_: unknown, writer: BinaryWriter = new BinaryWriter()) =>
      writer.raw(new Uint8Array([0x0a, 0xff, 0xff])),
    decode: () => ({}),
  };
  const raw = { ...TaskDefinition.methods.state, requestType: cutShort };
  await assert.rejects(shim.connection.call(TaskDefinition.fullName, raw, {}));
  await stillServes();
});

test("a message of millions of empty parts is refused before they cost memory", {
  skip: failsOnGoShim("it decodes them all"),
}, async () => {
  const parts = 1_900_000;
  const before = peakOf(shimPid);
  const filled = (tag: number) => ({
    encode: (_: unknown, writer: BinaryWriter = new BinaryWriter()) => {
      const bytes = new Uint8Array(2 * parts);
      for (let at = 0; at < bytes.length; at += 2) bytes[at] = tag;
      return writer.raw(bytes);
    },
    decode: () => ({}),
  });
  // CreateTaskRequest.rootfs, and the namespaced options of one mount in it.
  const mounts = { ...TaskDefinition.methods.create, requestType: filled(0x1a) };
  await refusal(Code.RESOURCE_EXHAUSTED, shim.connection.call(TaskDefinition.fullName, mounts, {}));
  const options = {
    ...mounts,
    requestType: {
      encode: (_: unknown, writer: BinaryWriter = new BinaryWriter()) =>
        filled(0x22).encode({}, writer.tag(3, 2).fork()).join(),
      decode: () => ({}),
    },
  };
  await refusal(Code.RESOURCE_EXHAUSTED, shim.connection.call(TaskDefinition.fullName, options, {}));
  const grown = peakOf(shimPid) - before;
  if (!isSanitizerBuild) assert.ok(grown < 64 << 10, `grew by ${grown} KiB`);
  await stillServes();
});

test("frames of unknown types, on even streams, that go back, or are empty, harm nobody", async () => {
  const frames = [
    header(0, 2, 1),
    header(0, 1, 9),
    header(0, 0, 0),
    header(0, 1, 2),
    header(0, 1, 3),
    Buffer.concat([header(0, 7, 1), header(0, 5, 1)]),
    Buffer.alloc(10, 0xff),
    Buffer.alloc(4096),
  ];
  for (const frame of frames) {
    const socket = await open();
    socket.end(frame);
    await stillServes();
    socket.destroy();
  }
  await stillServes();
});

test("connections that are cut in the middle of a frame leave no descriptor open", {
  skip: failsOnGoShim("it keeps some of them"),
}, async () => {
  const before = openFiles(shimPid).length;
  for (let cut = 0; cut < 30; cut += 1) {
    const socket = await open();
    const frame = Buffer.concat([header(20, 1, 1), Buffer.alloc(20)]);
    socket.write(frame.subarray(0, cut));
    socket.destroy();
  }
  await stillServes();
  await eventually("the descriptors to be closed", () => openFiles(shimPid).length <= before);
});

test("a client that sends and never reads does not block the others", async () => {
  const socket = await open();
  socket.pause();
  const request = Buffer.from(
    "0a17636f6e7461696e6572642e7461736b2e76322e5461736b120553746174651a060a0477697265",
    "hex",
  );
  // The sanitizer's build collects garbage all the time.
  for (let stream = 1; stream < (isSanitizerBuild ? 400 : 4000); stream += 2) {
    socket.write(Buffer.concat([header(request.length, stream, 1), request]));
  }
  await stillServes();
  socket.destroy();
  await stillServes();
});

test("a client that goes away while it waits leaves the container as it is", async () => {
  const other = await ShimClient.connect(path);
  const waiting = other.wait("wire");
  other.close();
  await assert.rejects(waiting);
  await stillServes();
});

test("nothing is left behind", async () => {
  await place.endContainer(shim, "wire");
  await place.forget(shim, "wire");
  assert.equal(await place.leftovers(), "");
});
