// Input, and its end whenever it comes.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Playground } from "../harness/direct-shim.ts";
import { FifoWriter, fifoIn, Running, reading } from "./running.ts";

const place = await Playground.create();
after(() => place.close());

test("end of input that comes before an exec's Start ends its input (nerdctl 5029)", async () => {
  const running = await Running.start(place, "early");
  const stdin = fifoIn(place, "in");
  const stdout = fifoIn(place, "out");
  await running.shim.exec("early", "e", ["sh", "-c", "cat; echo over"], { stdin, stdout });
  await running.shim.closeStdin("early", "e");
  await running.shim.start("early", "e");
  const output = reading(stdout);
  assert.equal((await running.shim.wait("early", "e")).exitStatus, 0);
  await running.shim.delete("early", "e");
  await output.ended;
  assert.equal(output.text, "over\n");
  await running.end();
});

test("end of input before the init's Start ends its input, after all that was written", async () => {
  const stdin = fifoIn(place, "in");
  const stdout = fifoIn(place, "out");
  const shim = await place.shim("init", { args: ["sh", "-c", "cat; echo over"] });
  await shim.create("init", place.bundle("init"), { stdin, stdout });
  const output = reading(stdout);
  const input = new FifoWriter(stdin);
  input.write("a line\n");
  input.close();
  await shim.closeStdin("init");
  await shim.start("init");
  assert.equal((await shim.wait("init")).exitStatus, 0);
  await shim.delete("init");
  await output.ended;
  assert.equal(output.text, "a line\nover\n");
  await place.forget(shim, "init");
});

test("an exec's input that its client has closed before there was a process, with no CloseIO, is at its end", async () => {
  const running = await Running.start(place, "closed");
  const stdout = fifoIn(place, "out");
  await running.exec("e", ["sh", "-c", "cat; echo over"], { stdin: fifoIn(place, "in"), stdout });
  const output = reading(stdout);
  assert.equal((await running.shim.wait("closed", "e")).exitStatus, 0);
  await running.shim.delete("closed", "e");
  await output.ended;
  assert.equal(output.text, "over\n");
  await running.end();
});

test("a client that has an exec's input open and is silent, or has gone again, is no end", async () => {
  const running = await Running.start(place, "open");
  const open = ["silent", "gone"].map((name) => ({
    name,
    stdin: fifoIn(place, "in"),
    stdout: fifoIn(place, "out"),
  }));
  const writers: FifoWriter[] = [];
  for (const { name, stdin, stdout } of open) {
    await running.exec(name, ["sh", "-c", "cat; echo over"], { stdin, stdout });
    // At once: it is waited for no longer than a moment.
    writers.push(new FifoWriter(stdin));
  }
  writers[1]?.write("first\n");
  writers[1]?.close();
  // The time that a client has to come, and more.
  await new Promise((next) => setTimeout(next, 3000));
  writers[0]?.close();
  const again = open.map(({ stdin }) => new FifoWriter(stdin));
  for (const [n, writer] of again.entries()) {
    writer.write("second\n");
    writer.close();
    await running.shim.closeStdin("open", open[n]?.name);
  }
  for (const [n, { name, stdout }] of open.entries()) {
    const output = reading(stdout);
    await running.shim.wait("open", name);
    await running.shim.delete("open", name);
    await output.ended;
    assert.equal(output.text, n === 0 ? "second\nover\n" : "first\nsecond\nover\n");
  }
  await running.end();
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
