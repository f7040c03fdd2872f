// A container that comes from a checkpoint has no process until its Start: the next shim starts it as the one would have that was killed.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Status } from "../../src/api/generated/process.ts";
import { CriuRuntime } from "../harness/criu-runtime.ts";
import { Playground } from "../harness/direct-shim.ts";
import { FifoReader, makeFifo } from "../harness/fifo.ts";
import type { ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
const runtime = new CriuRuntime(place.directory);
after(() => place.close());

const image = join(place.directory, "image");
mkdirSync(image);
writeFileSync(join(image, "pages-1.img"), "state\n");
const NOWHERE = "nowhere";

async function created(id: string, failpoint: string, stdout = ""): Promise<ShimClient> {
  const spec = { args: ["sh", "-c", "echo back; exec sleep 1000"] };
  const shim = await place.shim(id, spec, { env: { HOLDFAST_FAILPOINT: failpoint } });
  const options = { binaryName: runtime.program };
  await shim.create(id, place.bundle(id), { options, checkpoint: image, stdout });
  return shim;
}

async function kill(shim: ShimClient, id: string): Promise<void> {
  const { shimPid } = await shim.connect(id);
  process.kill(shimPid, "SIGKILL");
  assert.notEqual((await shim.connect(id)).shimPid, shimPid);
}

for (const failpoint of [NOWHERE, "Start:request", "runc restore:done", "Start:response"]) {
  test(`it is started after a death ${failpoint === NOWHERE ? "before its Start" : `at ${failpoint}`}`, async () => {
    const id = `restored-${failpoint.replace(/\W/g, "-")}`;
    const stdout = makeFifo(join(place.directory, `${id}-out`));
    const shim = await created(id, failpoint, stdout);
    if (failpoint === NOWHERE) await kill(shim, id);
    const { status, pid: none } = await shim.state(id);
    assert.deepEqual([status, none], [Status.CREATED, 0]);
    const pid = await shim.start(id);
    const output = new FifoReader(stdout);
    await output.until("its output", (text) => text === "back\n");
    assert.equal((await shim.state(id)).pid, pid);
    assert.equal((await shim.dump()).deaths, 1);
    await shim.exec(id, "e", ["sh", "-c", "exit 5"]);
    await shim.start(id, "e");
    assert.equal((await shim.wait(id, "e")).exitStatus, 5);
    await shim.kill(id, 9);
    assert.equal((await shim.wait(id)).exitStatus, 137);
    await shim.delete(id);
    output.close();
    await place.forget(shim, id);
  });
}

test("one that is never started is deleted after a death", async () => {
  const id = "never-restored";
  const shim = await created(id, NOWHERE);
  await kill(shim, id);
  await shim.delete(id);
  await place.forget(shim, id);
});

test("nothing is left behind", async () => {
  assert.equal(await place.leftovers(), "");
});
