// Shim and keeper are both killed and the container lives on: `-adopt start` has another shim take it over, with what can be opened again.
import assert from "node:assert/strict";
import { openSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { type BundleSpec, Playground, type StartOptions } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { makeFifo, OutputFifos } from "../harness/fifo.ts";
import { keeperOf, killForGood } from "../harness/keeper.ts";
import { catches, isRunning } from "../harness/processes.ts";
import { ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
after(() => place.close());

const ADOPTABLE: StartOptions = { env: { HOLDFAST_ADOPT: "on" } };
const ALONE: StartOptions = { env: { HOLDFAST_ADOPT: "on", HOLDFAST_KEEPER: "off" } };

async function shimOf(id: string, spec: BundleSpec, options = ADOPTABLE): Promise<ShimClient> {
  return place.shim(id, spec, options);
}

/** Kills the shim and its keeper. */
async function kill(shim: ShimClient, id: string): Promise<void> {
  killForGood((await shim.connect(id)).shimPid);
  shim.close();
}

function adoptOutput(id: string, options = ADOPTABLE) {
  return place.invoke([...place.flags(id), "-adopt", "start"], place.bundle(id), options);
}

/** Has another shim take the container over. */
async function adopt(id: string, options = ADOPTABLE): Promise<ShimClient> {
  const { status, stdout, stderr } = await adoptOutput(id, options);
  assert.deepEqual({ status, stderr }, { status: 0, stderr: "" });
  return ShimClient.connect(stdout);
}

function eventsOf(id: string): string[] {
  return place.events.all
    .filter(({ body }) => body.containerId === id)
    .map(({ topic, body }) => `${topic.slice("/tasks/".length)} ${body.id ?? body.execId ?? ""}`.trim())
    .filter((event, index, all) => event !== all[index - 1]);
}

for (const [name, options] of [
  ["with a keeper", ADOPTABLE],
  ["without one", ALONE],
] as const) {
  test(`${name}: the container's true exit code, its output and its execs after shim and keeper were killed`, async () => {
    const id = `lives${options === ALONE ? "-alone" : ""}`;
    const fifos = new OutputFifos(join(place.directory, id));
    const stdin = makeFifo(join(place.directory, `${id}-stdin`));
    const before = await shimOf(
      id,
      {
        args: [
          "sh",
          "-c",
          "trap 'exit 42' TERM; echo begun; while true; do read -t 1 line; echo got $line; line=; sleep 0.01; done",
        ],
      },
      options,
    );
    const held = openSync(fifos.stdout, "r+");
    await before.create(id, place.bundle(id), { stdout: fifos.stdout, stderr: fifos.stderr });
    const { stdout } = fifos.read();
    await before.start(id);
    await stdout.until("the first word", (text) => text.includes("begun"));
    const { pid } = await before.state(id);
    await kill(before, id);
    assert.ok(isRunning(pid));

    const shim = await adopt(id, options);
    assert.equal((await shim.state(id)).pid, pid);
    const length = stdout.text.length;
    await stdout.until("more", (text) => text.length > length + 20);
    await shim.exec(id, "e", ["sh", "-c", "exit 9"]);
    await shim.start(id, "e");
    assert.equal((await shim.wait(id, "e")).exitStatus, 9);
    assert.equal(keeperOf((await shim.connect(id)).shimPid) !== undefined, options === ADOPTABLE);
    await shim.kill(id, 15);
    assert.equal((await shim.wait(id)).exitStatus, 42);
    assert.equal((await shim.delete(id)).exitStatus, 42);
    await eventually("its end", () => eventsOf(id).includes("delete"));
    assert.deepEqual(eventsOf(id), [
      "create",
      "start",
      "exec-added e",
      "exec-started e",
      "exit e",
      `exit ${id}`,
      "delete",
    ]);
    await place.forget(shim, id);
    (await import("node:fs")).closeSync(held);
    void stdin;
  });
}

test("a shim that dies where it would take its dead keeper's place leaves a container that can be adopted", async () => {
  const id = "keeperless";
  const before = await shimOf(
    id,
    { args: ["until-signal", "TERM=42"] },
    { env: { HOLDFAST_ADOPT: "on", HOLDFAST_FAILPOINT: "keeper:gone" } },
  );
  await before.create(id, place.bundle(id));
  await before.start(id);
  const { pid } = await before.state(id);
  await eventually("the trap", () => catches(pid, 15));
  const { shimPid } = await before.connect(id);
  const keeper = keeperOf(shimPid);
  assert.ok(keeper !== undefined);
  process.kill(keeper, "SIGKILL");
  await eventually("the shim's death", () => !isRunning(shimPid));
  before.close();
  const shim = await adopt(id);
  assert.equal((await shim.state(id)).pid, pid);
  await shim.kill(id, 15);
  assert.equal((await shim.wait(id)).exitStatus, 42);
  await shim.delete(id);
  await place.forget(shim, id);
});

test("events that waited on the disk while the daemon was away reach it from the shim that adopts", async () => {
  const id = "many-events";
  const before = await shimOf(id, { args: ["sleep", "1000"] });
  await before.create(id, place.bundle(id));
  await before.start(id);
  await eventually("its start", () => eventsOf(id).includes("start"));
  await place.events.close();
  // More than memory has room for.
  const execs = Array.from({ length: 60 }, (_, n) => `${n}-${"x".repeat(4000)}`);
  for (const exec of execs) await before.exec(id, exec, ["true"]);
  const spilled = (await before.dump()).events.at(-1);
  assert.match(spilled ?? "", /more in a file/);
  await kill(before, id);
  const shim = await adopt(id);
  await place.events.open();
  await eventually("the last of them", () => eventsOf(id).length >= 2 + execs.length);
  assert.deepEqual(eventsOf(id), ["create", "start", ...execs.map((exec) => `exec-added ${exec}`)]);
  await eventually("the file to be gone", () =>
    readdirSync(place.bundle(id)).every((name) => !name.startsWith("holdfast.events")),
  );
  await place.endContainer(shim, id);
  await place.forget(shim, id);
});

test("nothing is left behind", async () => {
  assert.equal(await place.leftovers(), "");
});
