// The end of a container: all of its output, whoever reads slowly; Delete in its bounds whatever a background child does; the same answer twice.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { after, test } from "node:test";
import { Code } from "../../src/ttrpc/status.ts";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { type FifoReader, OutputFifos } from "../harness/fifo.ts";
import { hashOfRange, writeNoise } from "../harness/noise.ts";
import { allPids, isRunning, processesMentioning, processInfo } from "../harness/processes.ts";
import { refusal } from "../harness/shim-client.ts";

const place = await Playground.create();
after(() => place.close());

const LARGEST = 4 * 1024 * 1024;
const noise = join(place.rootfs, "noise");
writeNoise(noise, LARGEST + 1);

/** Reads with pauses, as a client under load would, and returns the hash of all that came. */
async function readSlowly(reader: FifoReader): Promise<string> {
  const pause = setInterval(() => {
    reader.socket.pause();
    setTimeout(() => reader.socket.resume(), 5);
  }, 10);
  await reader.ended;
  clearInterval(pause);
  return createHash("sha256").update(reader.text, "latin1").digest("hex");
}

test("all output of a container that has exited reaches a slow reader, whatever its size", async () => {
  for (const power of [0, 12, 16, 20, 22]) {
    for (const size of [2 ** power - 1, 2 ** power, 2 ** power + 1]) {
      const id = `output-${size}`;
      const fifos = new OutputFifos(join(place.directory, id));
      const shim = await place.shim(id, { args: ["head", "-c", String(size), "/noise"] });
      await shim.create(id, place.bundle(id), { stdout: fifos.stdout, stderr: fifos.stderr });
      const { stdout: reader, stderr } = fifos.read();
      await shim.start(id);
      const hash = readSlowly(reader);
      assert.equal((await shim.wait(id)).exitStatus, 0);
      assert.equal((await shim.delete(id)).exitStatus, 0);
      assert.equal(await hash, hashOfRange(noise, 0, size), `${size} bytes`);
      for (const stream of [reader, stderr]) stream.close();
      await place.forget(shim, id);
    }
  }
});

test("a background child in the host's pid namespace that holds the output goes with its container", async () => {
  const fifos = new OutputFifos(join(place.directory, "background"));
  // Its name in the process list is its own, to be found there.
  const args = ["sh", "-c", "sleep 60606 & echo left; exit 4"];
  const shim = await place.shim("background", { args, hostPid: true });
  await shim.create("background", place.bundle("background"), { stdout: fifos.stdout, stderr: fifos.stderr });
  const { stdout: reader, stderr } = fifos.read();
  await shim.start("background");
  assert.equal((await shim.wait("background")).exitStatus, 4);
  assert.equal((await shim.delete("background")).exitStatus, 4);
  const mark = `/${place.namespace}/background`;
  await eventually("the child to end", () => !processesMentioning(mark).some((info) => isRunning(info.pid)));
  assert.equal(reader.text, "left\n");
  for (const stream of [reader, stderr]) stream.close();
  await place.forget(shim, "background");
});

test("a second Delete gets the first one's answer or NOT_FOUND, and does not hang", async () => {
  const shim = await place.shim("twice", { args: ["sh", "-c", "exit 11"] });
  await shim.create("twice", place.bundle("twice"));
  await shim.start("twice");
  await shim.wait("twice");
  const answers = await Promise.allSettled([shim.delete("twice"), shim.delete("twice")]);
  const [first, second] = answers.sort((a, b) => (a.status < b.status ? -1 : 1));
  assert.ok(first?.status === "fulfilled" && first.value.exitStatus === 11);
  if (second?.status === "fulfilled") assert.equal(second.value.exitStatus, 11);
  else assert.match(String(second?.reason), /NOT_FOUND|not created|does not exist/);
  await place.forget(shim, "twice");
});

test("a size given before the start is the terminal's when the program starts", async () => {
  const fifos = new OutputFifos(join(place.directory, "tty"));
  const shim = await place.shim("tty", { args: ["stty", "size"], terminal: true });
  await shim.create("tty", place.bundle("tty"), { stdout: fifos.stdout, terminal: true });
  const { stdout: reader, stderr } = fifos.read();
  await shim.resize("tty", 123, 45);
  await shim.start("tty");
  assert.equal((await shim.wait("tty")).exitStatus, 0);
  await reader.until("the size", (text) => text === "45 123\r\n");
  await shim.delete("tty");
  for (const stream of [reader, stderr]) stream.close();
  await place.forget(shim, "tty");
});

test("a shim that has seen a hundred execs has no child and no zombie", async () => {
  const shim = await place.shim("childless", { args: ["sleep", "1000"] });
  await shim.create("childless", place.bundle("childless"));
  const init = await shim.start("childless");
  const { shimPid } = await shim.connect("childless");
  for (let n = 0; n < 100; n += 1) {
    await shim.exec("childless", `e-${n}`, ["true"]);
    await shim.start("childless", `e-${n}`);
    await shim.wait("childless", `e-${n}`);
    await shim.delete("childless", `e-${n}`);
  }
  await eventually("the init to be its only child", () => {
    const children = allPids().filter((pid) => processInfo(pid)?.parent === shimPid);
    return children.length === 1 && children[0] === init;
  });
  await refusal(Code.NOT_FOUND, shim.state("childless", "e-99"));
  await place.endContainer(shim, "childless");
  await place.forget(shim, "childless");
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
