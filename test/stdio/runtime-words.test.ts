// What a runtime says of its own failure is the caller's, and never in the container's output (runc issue 349).
import assert from "node:assert/strict";
import { closeSync, constants, existsSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Code } from "../../src/ttrpc/status.ts";
import { Playground } from "../harness/direct-shim.ts";
import { RuncGate } from "../harness/gate.ts";
import { refusal } from "../harness/shim-client.ts";
import { fifoIn, Running } from "./running.ts";

const place = await Playground.create();
const gate = new RuncGate(place.directory);
after(() => place.close());

/** A fifo keeps what is written to it as long as somebody holds it. */
function heldOpen(path: string): number {
  return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
}

/** What was written by others, who must have closed it; closes it too. */
function contentOf(fd: number): string {
  const text = readFileSync(fd, "utf8");
  closeSync(fd);
  return text;
}

test("a container whose command is not there leaves its log empty, and the error is told once", async () => {
  const shim = await place.shim("missing", { args: ["/not/there"] });
  const log = `file://${place.directory}/missing.log`;
  const message = await refusal(
    Code.UNKNOWN,
    shim.create("missing", place.bundle("missing"), { stdout: log, stderr: log }),
  );
  assert.equal(message.split("unable to start container process").length - 1, 1, message);
  const path = join(place.directory, "missing.log");
  assert.equal(existsSync(path) ? readFileSync(path, "utf8") : "", "");
  await place.forget(shim, "missing");
});

test("an exec whose command is not there writes nothing to its streams", async () => {
  const running = await Running.start(place, "exec");
  const stderr = fifoIn(place, "err");
  const stdout = fifoIn(place, "out");
  const readers = [stdout, stderr].map(heldOpen);
  await running.shim.exec("exec", "e", ["/not/there"], { stdout, stderr });
  await refusal(Code.UNKNOWN, running.shim.start("exec", "e"));
  await running.shim.delete("exec", "e");
  for (const reader of readers) assert.equal(contentOf(reader), "");
  await running.end();
});

test("a runtime that writes no log is quoted from its stderr", async () => {
  const shim = await place.shim("words", { args: ["true"] });
  gate.fail("create", "no luck today");
  const stderr = fifoIn(place, "err");
  const reader = heldOpen(stderr);
  const message = await refusal(
    Code.UNKNOWN,
    shim.create("words", place.bundle("words"), { stderr, options: { binaryName: gate.program } }),
  );
  assert.match(message, /no luck today/);
  assert.equal(contentOf(reader), "");
  gate.releaseAll();
  await place.forget(shim, "words");
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
