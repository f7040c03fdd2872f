// The end of an output: nothing is lost that was written, and nobody is waited for who writes nothing.
import assert from "node:assert/strict";
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
} from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { openFiles } from "../harness/processes.ts";
import { fifoIn, Running, reading } from "./running.ts";

const place = await Playground.create();
after(() => place.close());

const inContainer = (name: string): string => join(place.rootfs, "tmp", name);

test("an exec that leaves a silent child behind is deleted long before the child ends", async () => {
  const running = await Running.start(place, "silent");
  const stdout = fifoIn(place, "out");
  const late = "(sleep 9; touch /tmp/late) & echo said; exit 3";
  await running.exec("e", ["sh", "-c", late], { stdout });
  const output = reading(stdout);
  assert.equal((await running.shim.wait("silent", "e")).exitStatus, 3);
  await running.shim.delete("silent", "e");
  assert.equal(existsSync(inContainer("late")), false, "Delete has waited for the child");
  await output.ended;
  assert.equal(output.text, "said\n");
  await running.end();
});

test("what a child still writes after its exec's end is taken, with pauses, before Delete answers", async () => {
  const running = await Running.start(place, "talks");
  const stdout = fifoIn(place, "out");
  const stderr = fifoIn(place, "err");
  const talks = "(for n in 1 2 3 4 5 6 7 8; do sleep 0.4; echo $n; echo $n >&2; done; sleep 100000) & exit 3";
  await running.exec("e", ["sh", "-c", talks], { stdout, stderr });
  const output = reading(stdout);
  const errors = reading(stderr);
  await running.shim.wait("talks", "e");
  await running.shim.delete("talks", "e");
  await Promise.all([output.ended, errors.ended]);
  for (const { text } of [output, errors]) assert.equal(text, "1\n2\n3\n4\n5\n6\n7\n8\n");
  await running.end();
});

test("Delete waits for a reader that pauses, until it has read everything", async () => {
  const running = await Running.start(place, "pauses");
  const stdout = fifoIn(place, "out");
  // More than the fifo holds; the rest fits into the container's own pipe.
  const size = 100_000;
  await running.exec("e", ["head", "-c", String(size), "/dev/zero"], { stdout });
  const pausing = openSync(stdout, constants.O_RDONLY | constants.O_NONBLOCK);
  await running.shim.wait("pauses", "e");
  let deleted = false;
  const gone = running.shim.delete("pauses", "e").then(() => {
    deleted = true;
  });
  // Longer than a silent stranger is waited for.
  await new Promise((next) => setTimeout(next, 3000));
  assert.equal(deleted, false, "Delete has not waited");
  const output = reading(stdout);
  closeSync(pausing);
  await gone;
  await output.ended;
  assert.equal(output.text.length, size);
  await running.end();
});

// containerd 8334: so do the clients of 1.7 and newer, also with what they have not read yet.
test("a client that closes its fifo when Delete answers has all of it by then", async () => {
  const running = await Running.start(place, "closes");
  for (const size of [1, 4097, 60_000]) {
    const stdout = fifoIn(place, "out");
    await running.shim.exec("closes", `e-${size}`, ["head", "-c", String(size), "/dev/zero"], { stdout });
    const reader = openSync(stdout, constants.O_RDONLY | constants.O_NONBLOCK);
    await running.shim.start("closes", `e-${size}`);
    await running.shim.wait("closes", `e-${size}`);
    let isDeleted = false;
    const deleted = running.shim.delete("closes", `e-${size}`).then(() => {
      isDeleted = true;
    });
    let taken = 0;
    while (!isDeleted) {
      await new Promise((next) => setTimeout(next, 20));
      if (!isDeleted) taken += readAvailable(reader, 4096);
    }
    closeSync(reader);
    await deleted;
    assert.equal(taken, size);
  }
  await running.end();
});

/** Bytes that were there to be read. */
function readAvailable(fd: number, most: number): number {
  try {
    return readSync(fd, Buffer.alloc(most));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") return 0;
    throw error;
  }
}

test("a reader that goes while Delete waits for it is waited for no more", async () => {
  const running = await Running.start(place, "goes");
  const stdout = fifoIn(place, "out");
  await running.shim.exec("goes", "e", ["head", "-c", "60000", "/dev/zero"], { stdout });
  const reader = openSync(stdout, constants.O_RDONLY | constants.O_NONBLOCK);
  await running.shim.start("goes", "e");
  await running.shim.wait("goes", "e");
  const deleted = running.shim.delete("goes", "e");
  // The shim takes calls in their order: with this answer it has begun to delete.
  await running.shim.state("goes", "e");
  closeSync(reader);
  await deleted;
  // What the shim says when it has given up waiting.
  assert.doesNotMatch(place.log, /output is not read/);
  await running.end();
});

test("the last bytes wait for a reader that comes late, and then the shim lets go of the fifo", async () => {
  const running = await Running.start(place, "late");
  const stdout = fifoIn(place, "out");
  await running.exec("e", ["echo", "last words"], { stdout });
  await running.shim.wait("late", "e");
  const shim = await running.shimPid();
  // The container's end of the pipe has come, and the shim holds only one end of the fifo.
  await eventually("the stream to end", () => openFiles(shim).filter((path) => path === stdout).length === 1);
  const output = reading(stdout);
  await output.ended;
  assert.equal(output.text, "last words\n");
  await eventually("the fifo to be closed", () => !openFiles(shim).includes(stdout));
  await running.shim.delete("late", "e");
  await running.end();
});

test("a reader that goes before it has read everything leaves the rest to the next, after the end too", async () => {
  const running = await Running.start(place, "halves");
  const stdout = fifoIn(place, "out");
  const size = 60_000;
  await running.exec("e", ["head", "-c", String(size), "/dev/zero"], { stdout });
  await running.shim.wait("halves", "e");
  const shim = await running.shimPid();
  const held = (): number => openFiles(shim).filter((path) => path === stdout).length;
  await eventually("the stream to end", () => held() === 1);
  let taken = 0;
  for (const piece of [10_000, 1, 20_000]) {
    const reader = openSync(stdout, constants.O_RDONLY);
    taken += readSync(reader, Buffer.alloc(piece));
    // Whoever reads is seen, so that it finds the end: the shim holds the other end of the fifo then.
    await eventually("the reader to be seen", () => writersOf(shim, stdout) === 0);
    closeSync(reader);
    await eventually("it to be missed", () => writersOf(shim, stdout) === 1);
  }
  const output = reading(stdout);
  await output.ended;
  assert.equal(taken + output.text.length, size);
  await eventually("the fifo to be closed", () => held() === 0);
  await running.shim.delete("halves", "e");
  await running.end();
});

/** How many descriptors of a process write to a file. */
function writersOf(pid: number, path: string): number {
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      const isIt = readlinkSync(`/proc/${pid}/fd/${fd}`) === path;
      return isIt && /^flags:\s+\d*1$/m.test(readFileSync(`/proc/${pid}/fdinfo/${fd}`, "utf8"));
    } catch {
      // Closed meanwhile.
      return false;
    }
  }).length;
}

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
