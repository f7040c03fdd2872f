// io.holdfast.stdout: what becomes of a container's output that nobody reads.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, constants, existsSync, mkdirSync, openSync, readSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import type { ContainerDump } from "../../src/api/dump.ts";
import { readUsage } from "../../src/shims/usage.ts";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { processInfo } from "../harness/processes.ts";
import { isGoShim } from "../harness/runtime.ts";
import type { CreateOptions } from "../harness/shim-client.ts";
import { fifoIn, Running, reading, SLEEPS } from "./running.ts";

const place = await Playground.create();
after(() => place.close());

const skip = isGoShim ? "the Go shim knows no policy" : false;
const MIB = 1 << 20;

/** Lines that can be told from each other. */
function numbers(last: number): string {
  let text = "";
  for (let n = 1; n <= last; n++) text += `${n}\n`;
  return text;
}

/** About 6.9 MB: more than a fifo and the container's own pipe hold. */
const MANY = 1_000_000;
const ALL = numbers(MANY);

const policy = (value: string): Record<string, string> => ({ "io.holdfast.stdout": value });

async function talking(
  id: string,
  value: string,
  script: string,
  stdio: CreateOptions = {},
): Promise<Running> {
  const args = ["sh", "-c", script];
  const { terminal = false } = stdio;
  return Running.start(place, id, { args, terminal, annotations: policy(value) }, stdio);
}

/** Whether all else of the output is in one descriptor of the shim's, the fifo. */
async function isInFifo({ shim }: Running, bytes: number): Promise<boolean> {
  return Object.values((await shim.dump()).fill).includes(bytes);
}

async function dumped({ shim, id }: Running): Promise<NonNullable<ContainerDump["output"]>> {
  const container = (await shim.dump()).containers.find((each) => each.id === id);
  assert.ok(container?.output !== undefined, "the dump has no figures");
  return container.output;
}

test("drop: a container ends whose output nobody reads, and what is lost is counted to the byte", {
  skip,
}, async () => {
  const stdout = fifoIn(place, "out");
  const running = await talking("dropped", "drop", `seq 1 ${MANY}; exit 7`, { stdout });
  assert.equal((await running.shim.wait("dropped")).exitStatus, 7);
  await eventually("the pipe to be empty", async () =>
    isInFifo(running, ALL.length - (await dumped(running)).dropped),
  );
  const output = reading(stdout);
  await output.ended;
  const { dropped, waiting } = await dumped(running);
  assert.equal(output.text.length + dropped, ALL.length);
  assert.equal(waiting, 0);
  assert.ok(output.text.length >= MIB, "a megabyte waits for the reader before anything is dropped");
  assert.equal(output.text, ALL.slice(0, output.text.length));
  const { stats } = await running.shim.stats("dropped");
  const usage = stats && readUsage(stats);
  assert.deepEqual([usage?.outputDroppedBytes, usage?.outputWaitingBytes], [BigInt(dropped), 0n]);
  await running.end();
});

test("drop: what is written while the shim finds nothing more to take is not dropped", { skip }, async () => {
  const id = "meets";
  const stdout = fifoIn(place, "out");
  const script =
    "echo one; until [ -e /tmp/stands ]; do sleep 0.02; done; echo two; touch /tmp/two; exec sleep 1000";
  const shim = await place.shim(
    id,
    { args: ["sh", "-c", script], annotations: policy("drop") },
    { env: { HOLDFAST_FAILPOINT: "relay:blocked=stop" } },
  );
  await shim.create(id, place.bundle(id), { stdout });
  const { shimPid } = await shim.connect(id);
  const starting = shim.start(id);
  await eventually("the shim to stand still", () => processInfo(shimPid)?.state === "T");
  writeFileSync(join(place.rootfs, "tmp/stands"), "");
  await eventually("the second line", () => existsSync(join(place.rootfs, "tmp/two")));
  process.kill(shimPid, "SIGCONT");
  await starting;
  const output = reading(stdout);
  await output.until("both lines", (text) => text === "one\ntwo\n");
  output.close();
  await place.endContainer(shim, id);
  await place.forget(shim, id);
});

test("drop: a reader that comes back has what is written from then on", { skip }, async () => {
  const stdout = fifoIn(place, "out");
  const script = `seq 1 ${MANY}; touch /tmp/said; until [ -e /tmp/go ]; do sleep 0.05; done; echo back; exit 0`;
  const running = await talking("returns", "drop", script, { stdout });
  await eventually("all to be written", () => existsSync(join(place.rootfs, "tmp/said")));
  await eventually("the pipe to be empty", async () =>
    isInFifo(running, ALL.length - (await dumped(running)).dropped),
  );
  const output = reading(stdout);
  await output.until("the megabyte that waited", (text) => text.length >= MIB);
  writeFileSync(join(place.rootfs, "tmp/go"), "");
  await running.shim.wait("returns");
  await output.ended;
  assert.ok(output.text.endsWith("back\n"));
  await running.end();
});

for (const terminal of [false, true]) {
  const kind = terminal ? "a terminal's output" : "output";
  test(`spill: ${kind} that nobody reads waits on the disk, all of it, in its order`, { skip }, async () => {
    const stdout = fifoIn(place, "out");
    const id = `spilled-${terminal}`;
    const script = `stty -opost 2>/dev/null; seq 1 ${MANY}; exit 3`;
    const running = await talking(id, "spill", script, { stdout, terminal });
    assert.equal((await running.shim.wait(id)).exitStatus, 3);
    assert.ok((await dumped(running)).waiting > 6 * MIB);
    const output = reading(stdout);
    await output.ended;
    assert.equal(output.text.length, ALL.length);
    assert.ok(output.text === ALL, "the order is another");
    assert.deepEqual(await dumped(running), { dropped: 0, waiting: 0 });
    await running.end();
  });
}

test("spill: beyond its bound the container waits, and nothing is lost", { skip }, async () => {
  const stdout = fifoIn(place, "out");
  const running = await talking("bounded", "spill:1m", `seq 1 ${MANY}; exit 4`, { stdout });
  await eventually("the room to be used up", async () => (await dumped(running)).waiting === MIB);
  const { stats } = await running.shim.stats("bounded");
  assert.equal((stats && readUsage(stats))?.outputWaitingBytes, BigInt(MIB));
  assert.equal((await running.shim.state("bounded")).exitStatus, 0);
  const output = reading(stdout);
  assert.equal((await running.shim.wait("bounded")).exitStatus, 4);
  await output.ended;
  assert.ok(output.text === ALL, "something is lost, or the order is another");
  await running.end();
});

test("spill: a reader that goes and comes again and again has everything once", { skip }, async () => {
  const stdout = fifoIn(place, "out");
  const running = await talking("again", "spill:2m", `seq 1 ${MANY}; exit 5`, { stdout });
  const pieces: Buffer[] = [];
  const buffer = Buffer.alloc(MIB);
  let taken = 0;
  while (taken < ALL.length) {
    const reader = openSync(stdout, constants.O_RDONLY);
    // Of uneven size, so that the reader leaves at any place.
    for (let left = 300_001; left > 0; ) {
      const size = readSync(reader, buffer, 0, Math.min(left, buffer.length), null);
      if (size === 0) break;
      pieces.push(Buffer.from(buffer.subarray(0, size)));
      taken += size;
      left -= size;
    }
    closeSync(reader);
  }
  assert.equal((await running.shim.wait("again")).exitStatus, 5);
  assert.ok(Buffer.concat(pieces).toString() === ALL, "something is lost, or the order is another");
  await running.end();
});

test("spill: a disk that is full makes the container wait, as without a policy", { skip }, async () => {
  const stdout = fifoIn(place, "out");
  const bundle = place.makeBundle("full", {
    args: ["sh", "-c", `seq 1 ${MANY}; exit 6`],
    annotations: policy("spill"),
  });
  const work = join(bundle, "work");
  mkdirSync(work);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "none", work]);
  try {
    const running = await Running.ofBundle(place, "full", { stdout });
    await eventually("the disk to be full", () => place.log.includes("cannot be kept on the disk"));
    const { waiting } = await dumped(running);
    assert.ok(waiting > 0 && waiting <= MIB);
    const output = reading(stdout);
    assert.equal((await running.shim.wait("full")).exitStatus, 6);
    await output.ended;
    assert.ok(output.text === ALL, "something is lost, or the order is another");
    await place.endContainer(running.shim, "full");
    execFileSync("umount", [work]);
    await place.forget(running.shim, "full");
  } finally {
    execFileSync("sh", ["-c", 'umount "$1" 2>/dev/null || true', "sh", work]);
  }
});

for (const [value, takesAll] of [
  ["drop", false],
  ["spill", true],
] as const) {
  test(`${value}: a logger that takes nothing does not hold its container up`, { skip }, async () => {
    const log = join(place.rootfs, "tmp", `logged-${value}`);
    const logger = join(place.directory, `logger-${value}`);
    const script = `#!/bin/sh\nexec 5>&-\nuntil [ -e ${log}.go ]; do sleep 0.05; done\nexec cat <&3 >${log}\n`;
    writeFileSync(logger, script, { mode: 0o755 });
    const running = await talking(`logger-${value}`, value, `seq 1 ${MANY}; exit 8`, {
      stdout: `binary://${logger}`,
    });
    const id = running.id;
    assert.equal((await running.shim.wait(id)).exitStatus, 8);
    writeFileSync(`${log}.go`, "");
    await running.shim.delete(id);
    const size = Number(execFileSync("stat", ["-c", "%s", log], { encoding: "utf8" }));
    if (takesAll)
      assert.equal(execFileSync("cat", [log], { encoding: "utf8", maxBuffer: 16 * MIB }) === ALL, true);
    else assert.ok(size >= MIB && size < ALL.length, `the logger has ${size} bytes`);
    await place.forget(running.shim, id);
  });
}

test("an exec's output is never dropped", { skip }, async () => {
  const running = await Running.start(place, "execs", { ...SLEEPS, annotations: policy("drop") });
  const stdout = fifoIn(place, "out");
  await running.exec("e", ["seq", "1", String(MANY)], { stdout });
  const held = openSync(stdout, constants.O_RDONLY | constants.O_NONBLOCK);
  await eventually("the fifo to fill up", async () =>
    Object.values((await running.shim.dump()).fill).some((n) => n > 0),
  );
  const output = reading(stdout);
  closeSync(held);
  await running.shim.wait("execs", "e");
  await output.ended;
  assert.ok(output.text === ALL);
  await running.shim.delete("execs", "e");
  await running.end();
});

test("a policy that is none is refused, with its name and its value, and leaves nothing", {
  skip,
}, async () => {
  const cases = [
    [
      "never",
      'annotation io.holdfast.stdout: unknown output policy "never": give block, drop, spill or spill:SIZE',
    ],
    ["", 'annotation io.holdfast.stdout: unknown output policy "": give block, drop, spill or spill:SIZE'],
    [
      "spill:",
      "annotation io.holdfast.stdout: output policy spill:: the size must be a number from 1m to 1t, such as 64m",
    ],
    [
      "spill:12q",
      "annotation io.holdfast.stdout: output policy spill:12q: the size must be a number from 1m to 1t, such as 64m",
    ],
    [
      "spill:1k",
      "annotation io.holdfast.stdout: output policy spill:1k: the size must be a number from 1m to 1t, such as 64m",
    ],
    [
      "spill:-1m",
      "annotation io.holdfast.stdout: output policy spill:-1m: the size must be a number from 1m to 1t, such as 64m",
    ],
    [
      "spill:2000t",
      "annotation io.holdfast.stdout: output policy spill:2000t: the size must be a number from 1m to 1t, such as 64m",
    ],
  ] as const;
  for (const [value, reason] of cases) {
    const shim = await place.shim("refused", { ...SLEEPS, annotations: policy(value) });
    await assert.rejects(shim.create("refused", place.bundle("refused")), {
      message: `INVALID_ARGUMENT: ${reason}: invalid argument`,
    });
    await place.forget(shim, "refused");
  }
});

test("without a policy the figures are as they always were", { skip }, async () => {
  const stdout = fifoIn(place, "out");
  const running = await Running.start(place, "plain", { args: ["echo", "hi"] }, { stdout });
  await running.shim.wait("plain");
  const { stats } = await running.shim.stats("plain");
  assert.equal((stats && readUsage(stats))?.outputDroppedBytes, undefined);
  assert.equal((await running.shim.dump()).containers[0]?.output, undefined);
  await running.end();
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
