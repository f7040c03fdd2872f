import assert from "node:assert/strict";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { listen, nodeClock, nodeNet } from "../../src/platform/node.ts";
import { type ByteStream, isSystemError, type StreamHandler } from "../../src/platform/platform.ts";
import { gate, socketDirectory } from "./sockets.ts";

function handler(parts: Partial<StreamHandler>): StreamHandler {
  return { data() {}, drained() {}, closed() {}, ...parts };
}

test("connecting to nothing, and listening where something is, fail with a SystemError that names the path", async (t) => {
  const path = join(socketDirectory(t), "s");
  await assert.rejects(
    nodeNet.connect(path),
    (error) => isSystemError(error, "ENOENT") && error.path === path,
  );
  const listener = await listen(path, 0o600, () => {});
  t.after(() => listener.close());
  await assert.rejects(
    listen(path, 0o600, () => {}),
    (error) => isSystemError(error, "EADDRINUSE"),
  );
});

test("a listener's socket has the mode asked for and goes with it", async (t) => {
  const path = join(socketDirectory(t), "s");
  const umask = process.umask();
  for (const mode of [0o600, 0o660]) {
    const listener = await listen(path, mode, () => {});
    assert.equal(statSync(path).mode & 0o777, mode);
    listener.close();
    assert.equal(existsSync(path), false);
  }
  assert.equal(process.umask(), umask);
});

test("bytes that come before start() are delivered after it, and the peer's end closes the stream once", async (t) => {
  const path = join(socketDirectory(t), "s");
  const { opened, open } = gate();
  let server: ByteStream | undefined;
  const listener = await listen(path, 0o600, (stream) => {
    server = stream;
    open();
  });
  t.after(() => listener.close());
  const client = await nodeNet.connect(path);
  const drained = gate();
  client.start(handler({ drained: drained.open }));
  client.write(Uint8Array.of(1, 2, 3));
  await Promise.all([opened, drained.opened]);
  assert.equal(client.queued, 0);
  client.close();
  client.write(Uint8Array.of(4));

  const got: number[] = [];
  const ends: unknown[] = [];
  await new Promise<void>((resolve) => {
    server?.start(
      handler({
        data: (chunk) => {
          assert.equal(Object.getPrototypeOf(chunk), Uint8Array.prototype);
          got.push(...chunk);
        },
        closed: (error) => {
          ends.push(error);
          resolve();
        },
      }),
    );
  });
  server?.close();
  assert.deepEqual([got, ends], [[1, 2, 3], [undefined]]);
});

test("a timer fires once unless cancelled, and one of a hundred years does not fire at once", async () => {
  const fired: string[] = [];
  const far = nodeClock.after(3.2e12, () => fired.push("far"));
  nodeClock.after(1, () => fired.push("cancelled")).cancel();
  await new Promise<void>((resolve) => nodeClock.after(5, resolve));
  far.cancel();
  far.cancel();
  assert.deepEqual(fired, []);
  assert.ok(Math.abs(Number(nodeClock.realtimeNs() / 1_000_000n) - Date.now()) < 5000);
});
