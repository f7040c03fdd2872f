// How much a client may send to holdfastd's gRPC server before that has read it: enough for whoever writes content, bounded for each call, and no call
// waits because another is not read.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from "node:http2";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { GrpcServer } from "../../src/manager/server/grpc-server.ts";
import { eventually } from "../harness/eventually.ts";
import { EchoDefinition, Message, text } from "../ttrpc/echo.ts";

const STREAM_WINDOW = 256 * 1024;
const CONNECTION_WINDOW = 1024 * 1024;

const directory = mkdtempSync(join(tmpdir(), "holdfast-windows-"));
const path = join(directory, "g.sock");
let socket: Socket;
let session: ClientHttp2Session;
let server: GrpcServer;

before(async () => {
  server = new GrpcServer(() => {});
  server.register(EchoDefinition, {
    unary: (request) => request,
    // Answers nothing, and reads nothing.
    async *both(_, { signal }) {
      await new Promise<void>((resolve) => signal.onCancel(resolve));
      yield text("");
    },
  });
  await server.listen(path);
  socket = createConnection({ path });
  session = connect("http://localhost", { createConnection: () => socket });
  await once(session, "connect");
});

after(async () => {
  session.destroy();
  await server.drain(0);
  await rm(directory, { recursive: true, force: true });
});

function call(method: string): ClientHttp2Stream {
  return session.request({
    ":method": "POST",
    ":path": `/${EchoDefinition.fullName}/${method}`,
    "content-type": "application/grpc",
    te: "trailers",
  });
}

function message(body: string): Buffer {
  const data = Message.encode(text(body)).finish();
  const head = Buffer.alloc(5);
  head.writeUInt32BE(data.length, 1);
  return Buffer.concat([head, data]);
}

test("a client that writes content has room for 256 KiB of a call, and for 1 MiB of all", async () => {
  await eventually("the windows", () => session.remoteSettings.initialWindowSize === STREAM_WINDOW);
  await eventually("the connection's", () => (session.state.remoteWindowSize ?? 0) >= CONNECTION_WINDOW);
});

test("calls that nobody reads take a bounded part of what is sent, and keep no other call waiting", async () => {
  const body = message("x".repeat(4 * STREAM_WINDOW));
  const stuck = Array.from({ length: 2 * (CONNECTION_WINDOW / STREAM_WINDOW) }, () => call("Both"));
  for (const stream of stuck) {
    stream.on("error", () => {});
    // Before that the server may not have seen it.
    await once(stream, "response");
    stream.write(body);
  }
  const room = stuck.length * STREAM_WINDOW;
  await eventually("all of that room to be used", () => socket.bytesWritten >= room);
  const asked = call("Unary");
  const chunks: Buffer[] = [];
  asked.on("data", (chunk: Buffer) => chunks.push(chunk));
  asked.end(message("a"));
  await once(asked, "end");
  assert.deepEqual(Buffer.concat(chunks), message("a"));
  assert.ok(socket.bytesWritten < room + STREAM_WINDOW, `${socket.bytesWritten} bytes were sent`);
  for (const stream of stuck) stream.close(constants.NGHTTP2_CANCEL);
});
