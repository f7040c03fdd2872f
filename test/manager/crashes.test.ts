// holdfastd ends as by kill -9 at every boundary of a container's life: before and after each call and each event, and inside the calls that take
// several steps. Nothing may be lost, and nothing doubled.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { killForGood } from "../harness/keeper.ts";
import { CarefulClient, INIT_STATUS } from "./careful-client.ts";

let daemon = await Daemon.start({ kind: "holdfastd" });
after(() => daemon.close());

const CONTAINERS = "containerd.services.containers.v1.Containers";
const TASKS = "containerd.services.tasks.v1.Tasks";

const CALLS = [
  `${CONTAINERS}/Create`,
  `${TASKS}/Create`,
  `${TASKS}/Start`,
  `${TASKS}/Exec`,
  // The exec's.
  `${TASKS}/Start#2`,
  `${TASKS}/Wait`,
  `${TASKS}/DeleteProcess`,
  // The init's.
  `${TASKS}/Wait#2`,
  `${TASKS}/Delete`,
  `${CONTAINERS}/Delete`,
];
const EVENTS = ["create", "start", "exec-added", "exec-started", "exit", "exit#2", "delete"].map(
  (topic) => `Forward/tasks/${topic}`,
);
const INSIDE = [
  "create:bundle",
  "create:started",
  "create:connected",
  "create:created",
  "delete:asked",
  "delete:answered",
  "delete:shutdown",
];

/** "A#2" and "request" make "A:request#2". */
const place = (name: string, side: string): string => name.replace(/(#\d+)?$/, (turn) => `:${side}${turn}`);
const PLACES = [
  ...[...CALLS, ...EVENTS].flatMap((name) => [place(name, "request"), place(name, "response")]),
  ...INSIDE,
];

const PUBLISHED_ONCE = ["create", "start", "exec-added e1", "exec-started e1", "exit e1", "exit"];

for (const failpoint of PLACES) {
  test(`killed at ${failpoint}`, async () => {
    await daemon.kill();
    await daemon.launch({ HOLDFAST_FAILPOINT: failpoint });
    const client = new CarefulClient(daemon);
    try {
      await client.live();
      assert.equal(client.runs, 1, "the program ran once");
      const { exit, steps } = await client.history();
      assert.equal(exit?.status, INIT_STATUS);
      const remembered = steps.filter(({ what }) => what.startsWith("/tasks/"));
      const names = remembered.map(({ what, execId }) => `${what.slice("/tasks/".length)} ${execId}`.trim());
      assert.deepEqual(
        names.filter((name) => PUBLISHED_ONCE.includes(name)).sort(),
        [...PUBLISHED_ONCE].sort(),
      );
      await client.deleteTask();
      await client.deleteContainer();
      assert.deepEqual([...new Set(client.heard)].sort(), [...client.heard].sort(), "no event came twice");
      assert.ok(client.heard.includes("exit"), client.heard.join(", "));
      // The last events come after the answers.
      await eventually("the daemon to have died", () => client.crashes > 0 || !daemon.isRunning);
      assert.equal(client.crashes <= 1, true);
    } catch (error) {
      // What it leaves is no fault of the next.
      await daemon.close();
      daemon = await Daemon.start({ kind: "holdfastd" });
      throw error;
    } finally {
      client.close();
    }
    if (!daemon.isRunning) await daemon.launch();
    assert.equal(await daemon.leftovers(), "");
  });
}

for (const failpoint of ["cleanup:deleted", "cleanup:noted", "cleanup:removed"]) {
  test(`killed at ${failpoint}, while it cleans up after a dead shim`, async () => {
    const cleaning = await Daemon.start({ kind: "holdfastd", config: ["[shim]", "adopt = false"] });
    try {
      await cleaning.kill();
      await cleaning.launch({ HOLDFAST_FAILPOINT: failpoint });
      const client = new CarefulClient(cleaning);
      await client.begin();
      killForGood(await cleaning.shimPid(client.id));
      await cleaning.ended();
      assert.equal((await client.history()).exit?.status, 128 + 9);
      await eventually("the end to be published", () => client.heard.includes("delete"));
      assert.deepEqual(client.heard, ["create", "start", "exit", "delete"]);
      await client.deleteContainer();
      client.close();
      assert.equal(await cleaning.leftovers(), "");
    } finally {
      await cleaning.close();
    }
  });
}

for (const failpoint of ["adopt:began", "adopt:served"]) {
  test(`killed at ${failpoint}, while another shim takes a container over`, async () => {
    await daemon.kill();
    await daemon.launch({ HOLDFAST_FAILPOINT: failpoint });
    const client = new CarefulClient(daemon);
    try {
      await client.begin();
      killForGood(await daemon.shimPid(client.id));
      await daemon.ended();
      await daemon.launch();
      await client.live();
      assert.equal(client.runs, 1, "the program ran once");
      assert.equal((await client.history()).exit?.status, INIT_STATUS);
      await client.deleteTask();
      await client.deleteContainer();
      assert.deepEqual([...new Set(client.heard)].sort(), [...client.heard].sort(), "no event came twice");
    } finally {
      client.close();
    }
    assert.equal(await daemon.leftovers(), "");
  });
}

test("killed while it takes its containers back, it takes them back the next time", async () => {
  await daemon.kill();
  await daemon.launch();
  const client = new CarefulClient(daemon);
  try {
    await client.begin();
    await daemon.kill();
    // It may serve for a moment before: taking back does not hold it up.
    await daemon.launch({ HOLDFAST_FAILPOINT: "reattach:asked" }).catch(() => {});
    assert.equal((await daemon.ended())?.status, 128 + 9);
    await daemon.launch();
    await client.live();
    assert.equal(client.runs, 1);
    await client.deleteTask();
    await client.deleteContainer();
    assert.equal(client.heard.filter((name) => name === "exit").length, 1);
  } finally {
    client.close();
  }
  assert.equal(await daemon.leftovers(), "");
});
