// Calls that are given up leave nothing in the shim: a client that polls Wait once a second does so 86,400 times a day.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { inParallel } from "../harness/parallel.ts";
import { failsOnGoShim, isSanitizerBuild } from "../harness/runtime.ts";
import { ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
after(() => place.close());

const notOurs = failsOnGoShim("it has no dump");
/** The sanitizer's build is much slower, and needs no more to show what stays. */
const SCALE = isSanitizerBuild ? 50 : 1;
/** Objects that the last calls in the dump, and timers, may make more or fewer of. */
const NOISE = 300;

async function objects(shim: ShimClient): Promise<number> {
  return (await shim.dump()).memory?.objects ?? Number.NaN;
}

/** Waits until the shim's heap is what it was: it is collected when the shim has been idle for a moment. */
async function settles(shim: ShimClient, before: number): Promise<void> {
  let now = Number.NaN;
  try {
    await eventually("the objects to go", async () => {
      await new Promise((next) => setTimeout(next, 500));
      now = await objects(shim);
      return now - before < NOISE;
    });
  } catch (error) {
    throw new Error(`${now - before} objects more than before`, { cause: error });
  }
}

test("ten thousand Waits that run into their deadline leave nothing", { skip: notOurs }, async () => {
  const shim = await place.shim("deadlines", { args: ["sleep", "1000"] });
  await shim.create("deadlines", place.bundle("deadlines"));
  await shim.start("deadlines");
  const wait = async (): Promise<void> => {
    const call = shim.task.wait({ id: "deadlines", execId: "" }, { timeoutMs: 20 });
    await assert.rejects(
      call,
      (error) => error instanceof TtrpcError && error.code === Code.DEADLINE_EXCEEDED,
    );
  };
  // What only the first calls make, such as a grown table.
  await inParallel(100, Array(100).fill(0), wait);
  const before = await eventually("a quiet heap", async () => {
    await new Promise((next) => setTimeout(next, 500));
    return await objects(shim);
  });
  await inParallel(100, Array(10_000 / SCALE).fill(0), wait);
  await settles(shim, before);
  const exit = shim.wait("deadlines");
  await place.endContainer(shim, "deadlines");
  assert.equal((await exit).exitStatus, 137);
  await place.forget(shim, "deadlines");
});

test("clients that go away while they wait leave nothing", { skip: notOurs }, async () => {
  place.makeBundle("clients", { args: ["sleep", "1000"] });
  const address = await place.start("clients");
  const shim = await ShimClient.connect(address);
  await shim.create("clients", place.bundle("clients"));
  await shim.start("clients");
  await shim.exec("clients", "e", ["sleep", "1000"]);
  await shim.start("clients", "e");
  const visit = async (): Promise<void> => {
    const client = await ShimClient.connect(address);
    const waits = Array.from({ length: 20 }, (_, n) => client.wait("clients", n % 2 === 0 ? "" : "e"));
    // Answered after the waits have been taken.
    await client.connect("clients");
    client.close();
    await Promise.allSettled(waits);
  };
  await inParallel(4, Array(10).fill(0), visit);
  const before = await eventually("a quiet heap", async () => {
    await new Promise((next) => setTimeout(next, 500));
    return await objects(shim);
  });
  await inParallel(4, Array(200 / SCALE).fill(0), visit);
  await settles(shim, before);
  assert.deepEqual(
    (await shim.dump()).running.map(({ method }) => method),
    ["Dump"],
  );
  await place.endContainer(shim, "clients");
  await place.forget(shim, "clients");
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
