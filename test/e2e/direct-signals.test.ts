// Signals sent to the shim itself: only those that ask it to end do end it, since it takes its container along (containerd 6362, 3572); and
// what its starter did with signals is no business of the container.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { OutputFifos } from "../harness/fifo.ts";
import { isRunning } from "../harness/processes.ts";
import { failsOnGoShim } from "../harness/runtime.ts";
import { ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
after(() => place.close());

/** Meant to end a process that has a fault, or beyond its power. */
const FAULTS = [4, 5, 6, 7, 8, 11, 31];
const [KILL, STOP] = [9, 19];
const ENDING = [2, 3, 15];
const HARMLESS = Array.from({ length: 64 }, (_, index) => index + 1).filter(
  (signal) => ![...FAULTS, ...ENDING, KILL, STOP].includes(signal),
);

test("a shim lives through every signal that is not meant to end it", {
  skip: failsOnGoShim("it dies of some"),
}, async () => {
  const shim = await place.shim("lives", { args: ["sleep", "1000"] });
  await shim.create("lives", place.bundle("lives"));
  await shim.start("lives");
  const { shimPid } = await shim.connect("lives");
  for (const signal of HARMLESS) {
    process.kill(shimPid, signal);
    // A signal is taken before the call that comes after it.
    await assert.doesNotReject(shim.connect("lives"), `signal ${signal}`);
  }
  await shim.exec("lives", "after", ["sh", "-c", "exit 5"]);
  await shim.start("lives", "after");
  assert.equal((await shim.wait("lives", "after")).exitStatus, 5);
  await place.endContainer(shim, "lives");
  await place.forget(shim, "lives");
});

test("USR1 writes to the log what dump shows", { skip: failsOnGoShim("it logs stacks") }, async () => {
  const shim = await place.shim("dumped", { args: ["sleep", "1000"] });
  await shim.create("dumped", place.bundle("dumped"));
  const pid = await shim.start("dumped");
  const { shimPid } = await shim.connect("dumped");
  process.kill(shimPid, "SIGUSR1");
  const line = await eventually("the dump", () =>
    place.log
      .split("\n")
      .find((each) => ["msg=dump", "dumped", "runtime="].every((part) => each.includes(part))),
  );
  const dump = JSON.parse(JSON.parse(line.match(/ dump=("(?:[^"\\]|\\.)*")/)?.[1] ?? "null"));
  assert.deepEqual([dump.pid, dump.containers[0].id, dump.containers[0].pid], [shimPid, "dumped", pid]);
  await place.endContainer(shim, "dumped");
  await place.forget(shim, "dumped");
});

for (const signal of ENDING) {
  test(`signal ${signal} ends a shim, and its socket goes with it`, {
    skip: signal === 3 && failsOnGoShim("it dies of QUIT as every Go program does"),
  }, async () => {
    const id = `ends-${signal}`;
    const shim = await place.shim(id, { args: ["sleep", "1000"] });
    const { shimPid } = await shim.connect(id);
    const socket = (await place.start(id)).replace("unix://", "");
    process.kill(shimPid, signal);
    await eventually("the shim to end", () => !isRunning(shimPid));
    assert.ok(!existsSync(socket));
    shim.close();
    await place.removeBundle(id);
  });
}

test("what the daemon blocks and ignores reaches neither init nor exec", {
  skip: failsOnGoShim("it passes both on"),
}, async () => {
  const block =
    "use POSIX; $SIG{$_} = 'IGNORE' for qw(HUP USR1 CHLD PIPE TERM); sigprocmask(SIG_BLOCK, POSIX::SigSet->new(1, 10, 12, 14, 15, 17)); exec @ARGV";
  const show = ["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"];
  const fifos = new OutputFifos(join(place.directory, "masks"));
  place.makeBundle("masks", { args: ["sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status; sleep 1000"] });
  const shim = await ShimClient.connect(await place.start("masks", { wrapper: ["perl", "-e", block] }));
  await shim.create("masks", place.bundle("masks"), { stdout: fifos.stdout });
  const { stdout, stderr } = fifos.read();
  await shim.start("masks");
  await shim.exec("masks", "e", show, { stdout: fifos.stdout });
  await stdout.until("init's masks", (text) => text.split("\n").length > 2);
  await shim.start("masks", "e");
  assert.equal((await shim.wait("masks", "e")).exitStatus, 0);
  await stdout.until("the exec's masks", (text) => text.split("\n").length > 4);
  const masks = stdout.text.trim().split("\n");
  assert.deepEqual(
    masks.map((line) => line.split("\t")[1]),
    Array(4).fill("0000000000000000"),
  );
  for (const stream of [stdout, stderr]) stream.close();
  await place.endContainer(shim, "masks");
  await place.forget(shim, "masks");
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
