// Another program takes a shim's place while containers run, and a shim whose keeper was killed takes the keeper's: nobody who is connected notices.
import assert from "node:assert/strict";
import { chmodSync, copyFileSync, openSync, readlinkSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Code } from "../../src/ttrpc/status.ts";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { makeFifo, OutputFifos } from "../harness/fifo.ts";
import { keeperOf } from "../harness/keeper.ts";
import { isRunning, parentOf, processInfo } from "../harness/processes.ts";
import { refusal, type ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
after(() => place.close());

const WITHOUT = { HOLDFAST_KEEPER: "off" };

/** A container that echoes its input, and what is needed to talk to it. */
async function echo(id: string, env: Record<string, string> = {}) {
  const shim = await place.shim(
    id,
    { args: ["sh", "-c", "while read line; do echo got $line; done; exit 5"] },
    { env },
  );
  const stdin = makeFifo(join(place.directory, `${id}-stdin`));
  const fifos = new OutputFifos(join(place.directory, id));
  await shim.create(id, place.bundle(id), { stdin, stdout: fifos.stdout, stderr: fifos.stderr });
  const { stdout } = fifos.read();
  await shim.start(id);
  const input = openSync(stdin, "w");
  const says = async (word: string): Promise<void> => {
    writeSync(input, `${word}\n`);
    await stdout.until(`the echo of ${word}`, (text) => text.includes(`got ${word}\n`));
  };
  const end = async (): Promise<void> => {
    const exit = shim.wait(id);
    await shim.closeStdin(id);
    (await import("node:fs")).closeSync(input);
    await stdout.ended;
    assert.equal((await exit).exitStatus, 5);
    assert.equal((await shim.delete(id)).exitStatus, 5);
    await place.forget(shim, id);
  };
  return { shim, says, end, stdout };
}

async function shimOf(shim: ShimClient, id: string): Promise<number> {
  return (await shim.connect(id)).shimPid;
}

for (const [name, env] of [
  ["with its keeper", {}],
  ["without a keeper", WITHOUT],
] as const) {
  test(`a shim's program is replaced under its containers and clients, ${name}`, async () => {
    const id = `upgraded-${env === WITHOUT ? "alone" : "kept"}`;
    const { shim, says, end } = await echo(id, { ...env });
    const waiting = shim.wait(id);
    await shim.exec(id, "e", ["sh", "-c", "sleep 1000 & wait; exit 3"]);
    await shim.start(id, "e");
    await says("before");
    const next = join(place.directory, `containerd-shim-${id}`);
    copyFileSync(place.binary, next);
    for (let round = 0; round < 3; round++) {
      const { pid, version } = await shim.upgrade(next);
      assert.notEqual(version, "");
      assert.equal(readlinkSync(`/proc/${pid}/exe`), next);
      assert.equal(await shimOf(shim, id), pid);
      assert.equal(keeperOf(pid) !== undefined, env !== WITHOUT);
      await says(`after-${round}`);
    }
    await shim.kill(id, 9, "e");
    assert.equal((await shim.wait(id, "e")).exitStatus, 137);
    await end();
    assert.equal((await waiting).exitStatus, 5);
  });

  test(`a program that cannot go on with the state takes nobody's place, ${name}`, async () => {
    const id = `refused-${env === WITHOUT ? "alone" : "kept"}`;
    const { shim, says, end } = await echo(id, { ...env });
    const before = await shimOf(shim, id);
    const script = join(place.directory, `${id}.sh`);
    writeFileSync(script, "#!/bin/sh\nexit 0\n");
    chmodSync(script, 0o755);
    for (const program of ["/bin/false", script, "/nowhere/at/all"]) {
      assert.match(await refusal(Code.FAILED_PRECONDITION, shim.upgrade(program)), new RegExp(program));
    }
    assert.equal(await shimOf(shim, id), before);
    await says("still there");
    await end();
  });
}

test("a keeper that is killed is replaced by its shim, and the next death is made good again", async () => {
  const { shim, says, end } = await echo("keeperless");
  await says("one");
  const before = await shimOf(shim, "keeperless");
  const keeper = keeperOf(before);
  assert.ok(keeper !== undefined);
  const { pid: container } = await shim.state("keeperless");
  process.kill(keeper, "SIGKILL");
  await eventually("another shim", async () => (await shimOf(shim, "keeperless")) !== before);
  const next = await shimOf(shim, "keeperless");
  assert.equal(keeperOf(next), before, "the shim that was there is the keeper");
  await says("two");
  process.kill(next, "SIGKILL");
  await says("three");
  assert.ok(isRunning(container));
  // What had fallen to a keeper that was killed then is nobody's child any more: the kernel tells how it ended.
  const now = await shimOf(shim, "keeperless");
  process.kill(keeperOf(now) ?? 0, "SIGKILL");
  await eventually("another shim", async () => (await shimOf(shim, "keeperless")) !== now);
  await says("four");
  await end();
});

test("an upgrade whose shim is killed before the other program has its place is done all the same", async () => {
  const id = "upgraded-late";
  const { shim, says, end } = await echo(id, { HOLDFAST_FAILPOINT: "upgrade:settled" });
  const next = join(place.directory, `containerd-shim-${id}`);
  copyFileSync(place.binary, next);
  const { pid } = await shim.upgrade(next);
  assert.equal(readlinkSync(`/proc/${pid}/exe`), next);
  assert.equal((await shim.dump()).deaths, 1);
  await says("after it");
  await end();
});

test("an upgrade whose keeper is killed meanwhile is done without it, and there is another keeper", async () => {
  const id = "upgraded-meanwhile";
  const { shim, says, end } = await echo(id, { HOLDFAST_FAILPOINT: "upgrade:settled=stop" });
  const before = await shimOf(shim, id);
  const keeper = keeperOf(before);
  assert.ok(keeper !== undefined);
  const next = join(place.directory, `containerd-shim-${id}`);
  copyFileSync(place.binary, next);
  const upgrading = shim.upgrade(next);
  await eventually("the shim to stand still", () => processInfo(before)?.state === "T");
  process.kill(keeper, "SIGKILL");
  await eventually("its parent to be another", () => parentOf(before) !== keeper);
  process.kill(before, "SIGCONT");
  const { pid } = await upgrading;
  assert.equal(readlinkSync(`/proc/${pid}/exe`), next);
  assert.equal(keeperOf(pid), before, "the shim that was there is the keeper");
  await says("after it");
  process.kill(pid, "SIGKILL");
  await says("after its death");
  await end();
});

test("nothing is left behind", async () => {
  assert.equal(await place.leftovers(), "");
});
