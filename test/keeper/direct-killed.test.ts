// The shim is killed with SIGKILL and comes back by itself: whoever is connected to it, and whoever writes or reads a container's stdio, does not notice.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Status } from "../../src/api/generated/process.ts";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { FifoReader, makeFifo, OutputFifos } from "../harness/fifo.ts";
import { RuncGate } from "../harness/gate.ts";
import { keeperOf } from "../harness/keeper.ts";
import { catches, isRunning, processInfo } from "../harness/processes.ts";
import type { ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
after(() => place.close());

/** Kills the shim that serves a container; its keeper stays. */
async function kill(shim: ShimClient, id: string): Promise<number> {
  const { shimPid } = await shim.connect(id);
  process.kill(shimPid, "SIGKILL");
  return shimPid;
}

/** In their order; one that was sent, and not acknowledged, before the shim died comes once more. */
function eventsOf(id: string): string[] {
  return place.events.all
    .filter(({ body }) => body.containerId === id)
    .map(({ topic, body }) => `${topic.slice("/tasks/".length)} ${body.id ?? body.execId ?? ""}`.trim())
    .filter((event, index, all) => event !== all[index - 1]);
}

test("a Wait that is pending is answered by the next shim, on the same connection, with the true status", async () => {
  const shim = await place.shim("waits", { args: ["sh", "-c", "read line; exit 42"] });
  const stdin = makeFifo(join(place.directory, "waits-stdin"));
  await shim.create("waits", place.bundle("waits"), { stdin });
  await shim.start("waits");
  const waiting = shim.wait("waits");
  const before = await kill(shim, "waits");
  const { pid } = await shim.state("waits");
  assert.ok(isRunning(pid));
  assert.notEqual((await shim.connect("waits")).shimPid, before);
  writeSync(openSync(stdin, "w"), "go on\n");
  assert.equal((await waiting).exitStatus, 42);
  assert.equal((await shim.wait("waits")).exitStatus, 42);
  assert.equal((await shim.delete("waits")).exitStatus, 42);
  await eventually("its end", () => eventsOf("waits").includes("delete"));
  assert.deepEqual(eventsOf("waits"), ["create", "start", "exit waits", "delete"]);
  await place.forget(shim, "waits");
});

test("input and output go on, nothing of them is lost, and the end of the output is where it was", async () => {
  const shim = await place.shim("flows", {
    args: ["sh", "-c", "while read line; do echo got $line; done; echo last"],
  });
  const stdin = makeFifo(join(place.directory, "flows-stdin"));
  const fifos = new OutputFifos(join(place.directory, "flows"));
  await shim.create("flows", place.bundle("flows"), { stdin, stdout: fifos.stdout, stderr: fifos.stderr });
  const { stdout } = fifos.read();
  await shim.start("flows");
  const input = openSync(stdin, "w");
  for (let round = 0; round < 3; round++) {
    writeSync(input, `before ${round}\n`);
    if (round < 2) await kill(shim, "flows");
    writeSync(input, `after ${round}\n`);
    await stdout.until("the echo", (text) => text.includes(`got after ${round}`));
  }
  await shim.closeStdin("flows");
  closeSync(input);
  await stdout.ended;
  assert.equal(
    stdout.text,
    "got before 0\ngot after 0\ngot before 1\ngot after 1\ngot before 2\ngot after 2\nlast\n",
  );
  assert.equal((await shim.wait("flows")).exitStatus, 0);
  await shim.delete("flows");
  await place.forget(shim, "flows");
});

test("an exec, its exit and its terminal outlive the shim; new ones start in the next one", async () => {
  const shim = await place.shim("execs", { args: ["sleep", "1000"] });
  await shim.create("execs", place.bundle("execs"));
  await shim.start("execs");
  const stdin = makeFifo(join(place.directory, "execs-stdin"));
  const output = makeFifo(join(place.directory, "execs-output"));
  const held = openSync(output, "r+");
  await shim.exec("execs", "old", ["sh"], { stdin, stdout: output, terminal: true });
  await shim.start("execs", "old");
  const screen = new FifoReader(output);
  const input = openSync(stdin, "w");
  writeSync(input, "echo one-$((1+1))\n");
  await screen.until("the first answer", (text) => text.includes("one-2"));
  await shim.exec("execs", "later", ["sh", "-c", "exit 9"]);
  const ended = shim.wait("execs", "old");
  await kill(shim, "execs");
  writeSync(input, "echo two-$((2+2))\n");
  await screen.until("the second answer", (text) => text.includes("two-4"));
  await shim.resize("execs", 77, 33, "old");
  writeSync(input, "stty size\n");
  await screen.until("the size", (text) => text.includes("33 77"));
  await shim.start("execs", "later");
  assert.equal((await shim.wait("execs", "later")).exitStatus, 9);
  writeSync(input, "exit 7\n");
  assert.equal((await ended).exitStatus, 7);
  await shim.delete("execs", "old");
  await shim.delete("execs", "later");
  await kill(shim, "execs");
  await place.endContainer(shim, "execs");
  await place.forget(shim, "execs");
  screen.close();
  closeSync(held);
});

test("what a terminal has printed and nobody has read yet does not go with the shim", async () => {
  const shim = await place.shim("prints", { args: ["sleep", "1000"] });
  await shim.create("prints", place.bundle("prints"));
  await shim.start("prints");
  const path = makeFifo(join(place.directory, "prints-stdout"));
  const held = openSync(path, "r+");
  await shim.exec("prints", "e", ["sh", "-c", "stty -opost; seq 1 60000; exit 3"], {
    stdout: path,
    terminal: true,
  });
  await shim.start("prints", "e");
  // There is no more room in the fifo, and more in the terminal.
  await eventually("both to be full", async () => {
    const { fill, pid } = await shim.dump();
    const filled = Object.keys(fill).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    return filled.includes(path) && filled.some((name) => name.includes("ptmx"));
  });
  await kill(shim, "prints");
  await shim.state("prints");
  const screen = new FifoReader(path);
  closeSync(held);
  assert.equal((await shim.wait("prints", "e")).exitStatus, 3);
  await shim.delete("prints", "e");
  await screen.ended;
  assert.equal(screen.text, Array.from({ length: 60_000 }, (_, n) => `${n + 1}\n`).join(""));
  await place.endContainer(shim, "prints");
  await place.forget(shim, "prints");
});

test("what ends while no shim is there is told by the next one: an exec's exit before the init's", async () => {
  const shim = await place.shim("meanwhile", { args: ["sleep", "1000"] });
  await shim.create("meanwhile", place.bundle("meanwhile"));
  await shim.start("meanwhile");
  await shim.exec("meanwhile", "e", ["sleep", "1000"]);
  await shim.start("meanwhile", "e");
  const waits = Promise.all([shim.wait("meanwhile", "e"), shim.wait("meanwhile")]);
  const [{ pid: exec }, { pid: init }] = [await shim.state("meanwhile", "e"), await shim.state("meanwhile")];
  const { shimPid } = await shim.connect("meanwhile");
  // The keeper stands still: what happens now, happens without a shim.
  const keeper = Number(readFileSync(`/proc/${shimPid}/stat`, "utf8").split(") ")[1]?.split(" ")[1]);
  process.kill(keeper, "SIGSTOP");
  process.kill(shimPid, "SIGKILL");
  process.kill(init, "SIGKILL");
  process.kill(exec, "SIGTERM");
  process.kill(keeper, "SIGCONT");
  const [execExit, initExit] = await waits;
  assert.equal(initExit.exitStatus, 137);
  assert.ok([137, 143].includes(execExit.exitStatus), String(execExit.exitStatus));
  await shim.delete("meanwhile");
  await eventually("its end", () => eventsOf("meanwhile").includes("delete"));
  assert.deepEqual(eventsOf("meanwhile"), [
    "create",
    "start",
    "exec-added e",
    "exec-started e",
    "exit e",
    "exit meanwhile",
    "delete",
  ]);
  await place.forget(shim, "meanwhile");
});

test("a container that has ended, and one of its execs, are what they were when the shim is killed after that", async () => {
  const shim = await place.shim("over", { args: ["until-signal", "TERM=6"] });
  await shim.create("over", place.bundle("over"));
  await shim.start("over");
  await shim.exec("over", "e", ["sh", "-c", "exit 5"]);
  await shim.start("over", "e");
  const exec = await shim.wait("over", "e");
  const { pid: init } = await shim.state("over");
  await eventually("the trap", () => catches(init, 15));
  await shim.kill("over", 15);
  const ends = [exec, await shim.wait("over")];
  assert.deepEqual(
    ends.map(({ exitStatus }) => exitStatus),
    [5, 6],
  );
  const before = [await shim.state("over", "e"), await shim.state("over")];
  await kill(shim, "over");
  assert.deepEqual([await shim.state("over", "e"), await shim.state("over")], before);
  assert.ok(before.every(({ pid, status }) => pid > 0 && status === Status.STOPPED));
  assert.equal((await shim.wait("over")).exitStatus, 6);
  assert.equal((await shim.delete("over", "e")).exitStatus, 5);
  assert.equal((await shim.delete("over")).exitStatus, 6);
  await place.forget(shim, "over");
});

test("who waits for an exec whose start has failed is answered after the shim's death too", {
  timeout: 60_000,
}, async () => {
  const id = "failed-exec";
  const shim = await place.shim(id, { args: ["sleep", "1000"] });
  await shim.create(id, place.bundle(id));
  await shim.start(id);
  await shim.exec(id, "e", ["/no/such/program"]);
  await assert.rejects(shim.start(id, "e"));
  assert.equal((await shim.wait(id, "e")).exitStatus, 255);
  await kill(shim, id);
  assert.equal((await shim.wait(id, "e")).exitStatus, 255);
  await shim.delete(id, "e");
  await place.endContainer(shim, id);
  await place.forget(shim, id);
});

test("the runtime's start goes on when the shim is killed over it: the container runs, and is not half let go", async () => {
  const id = "starting";
  const gate = new RuncGate(place.directory);
  const shim = await place.shim(id, { args: ["sh", "-c", "exit 42"] });
  await shim.create(id, place.bundle(id), { options: { binaryName: gate.program } });
  const waiting = shim.wait(id);
  const { shimPid } = await shim.connect(id);
  gate.hold("start");
  const starting = shim.start(id);
  const runtime = await gate.held("start");
  process.kill(shimPid, "SIGKILL");
  const { shimPid: next } = await shim.connect(id);
  assert.notEqual(next, shimPid);
  assert.ok(isRunning(runtime), "it was killed with the shim");
  gate.release("start");
  await starting;
  assert.equal((await waiting).exitStatus, 42);
  await shim.delete(id);
  await place.forget(shim, id);
});

test("a keeper sleeps while its shim works: whatever is asked, runs and ends", async () => {
  const id = "quiet";
  const shim = await place.shim(id, { args: ["sleep", "1000"] });
  await shim.create(id, place.bundle(id));
  await shim.start(id);
  const keeper = keeperOf((await shim.connect(id)).shimPid);
  assert.ok(keeper !== undefined);
  await eventually("the keeper to sleep", () => processInfo(keeper)?.state === "S");
  const before = switchesOf(keeper);
  for (let turn = 0; turn < 5; turn++) {
    await shim.exec(id, `e${turn}`, ["sh", "-c", "(true &) ; exit 3"]);
    await shim.start(id, `e${turn}`);
    assert.equal((await shim.wait(id, `e${turn}`)).exitStatus, 3);
    await shim.delete(id, `e${turn}`);
  }
  assert.equal(switchesOf(keeper), before);
  await place.endContainer(shim, id);
  await place.forget(shim, id);
});

/** How often the process has begun or ended to run. */
function switchesOf(pid: number): string {
  const lines = readFileSync(`/proc/${pid}/status`, "utf8").split("\n");
  return lines.filter((line) => line.includes("ctxt_switches")).join(" ");
}

test("a log that was moved away before the shim's death is a file still: a full disk costs only what comes while it is full", async () => {
  const id = "moved-log";
  const directory = join(place.directory, id);
  mkdirSync(directory);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", directory]);
  try {
    const [log, moved] = [join(directory, "log"), join(directory, "log.1")];
    writeFileSync(log, "");
    const stdin = makeFifo(join(place.directory, `${id}-stdin`));
    const shim = await place.shim(id, { args: ["sh", "-c", "while read line; do echo got $line; done"] });
    // A path without a scheme.
    await shim.create(id, place.bundle(id), { stdin, stdout: log });
    await shim.start(id);
    const input = openSync(stdin, "w");
    writeSync(input, "one\n");
    await eventually("the first line", () => readFileSync(log, "utf8") === "got one\n");
    renameSync(log, moved);
    await kill(shim, id);
    await shim.state(id);
    spawnSync("dd", ["if=/dev/zero", `of=${directory}/filler`, "bs=4k"], { stdio: "ignore" });
    // More than its last page has room for.
    for (let n = 0; n < 100; n++) writeSync(input, `${"x".repeat(100)}\n`);
    await eventually("the disk to be full", () => statSync(moved).size === 4096);
    rmSync(join(directory, "filler"));
    writeSync(input, "last\n");
    closeSync(input);
    await shim.closeStdin(id);
    await shim.wait(id);
    await shim.delete(id);
    assert.match(readFileSync(moved, "utf8"), /got last\n$/);
    await place.forget(shim, id);
  } finally {
    execFileSync("umount", ["-l", directory]);
  }
});

test("nothing is left behind", async () => {
  assert.equal(await place.leftovers(), "");
});
