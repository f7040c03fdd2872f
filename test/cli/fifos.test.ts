// A process's input when its shim opens the fifo late: containerd's may answer Start before it has.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import type { FifoWriter } from "../../src/cli/session/fifo-writer.ts";
import { Fifos } from "../../src/cli/session/fifos.ts";
import { FifoReader } from "../harness/fifo.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-fifos-"));
process.env.HOLDFAST_FIFOS = directory;
after(() => rmSync(directory, { recursive: true }));

async function withInput(use: (stdin: FifoWriter, path: string) => Promise<void>): Promise<void> {
  const fifos = await Fifos.create({ stdin: true, terminal: true });
  try {
    fifos.taken();
    assert.ok(fifos.stdin !== undefined);
    await use(fifos.stdin, fifos.paths.stdin);
  } finally {
    fifos.close();
  }
}

test("input that comes before the shim has opened the fifo reaches it, and so does its end", () =>
  withInput(async (stdin, path) => {
    const finished = once(stdin, "finish");
    stdin.write("hello ");
    stdin.end("world");
    await setTimeout(20);
    assert.equal(stdin.writableFinished, false, "ended with nobody there");
    const reader = new FifoReader(path);
    await reader.until("all of it", (read) => read === "hello world");
    await reader.ended;
    await finished;
  }));

test("a reader that goes away is an error, and no end of the program", () =>
  withInput(async (stdin, path) => {
    const reader = new FifoReader(path);
    stdin.write("x");
    await reader.until("the first byte", (read) => read === "x");
    reader.socket.destroy();
    await once(reader.socket, "close");
    stdin.write("y");
    const [error] = await once(stdin, "error");
    assert.equal(error.code, "EPIPE");
  }));

test("who lets go does not wait for a reader", () =>
  withInput(async (stdin) => {
    stdin.write("nobody wants it");
    stdin.destroy();
    await once(stdin, "close");
  }));
