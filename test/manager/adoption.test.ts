// Under holdfastd a container lives on when its shim and the shim's keeper are both killed: another shim takes it over, and nobody who waits, reads or counts
// events notices.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { SPEC_PROCESS } from "../../src/api/any.ts";
import { Cause } from "../../src/api/generated/history.ts";
import type { DaemonClient } from "../../src/cli/containers/daemon-client.ts";
import { putOnRecord, refusal, remove, start, statuses } from "../harness/containers.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { FifoReader, makeFifo } from "../harness/fifo.ts";
import { killForGood } from "../harness/keeper.ts";
import { isRunning } from "../harness/processes.ts";
import { json, ShimClient } from "../harness/shim-client.ts";

const daemon = await Daemon.start({ kind: "holdfastd" });
const events = await daemon.events();
after(() => daemon.close());

/** Counts for ever, and ends with 42 when it is asked to. */
const COUNTS = ["sh", "-c", "trap 'exit 42' TERM; i=0; while true; do echo $i; i=$((i+1)); done"];
const WAITS = ["sh", "-c", "trap 'exit 42' TERM; while true; do sleep 0.1; done"];

async function shimOf(id: string): Promise<number> {
  const shim = await ShimClient.ofBundle(daemon.bundle(id));
  try {
    return (await shim.connect(id)).shimPid;
  } finally {
    shim.close();
  }
}

/** Kills a container's shim and keeper; resolves when another shim serves. */
async function killAndAwait(client: DaemonClient, id: string): Promise<void> {
  const before = await adoptions(client, id);
  killForGood(await shimOf(id));
  await eventually("the adoption", async () => (await adoptions(client, id)) > before);
}

async function adoptions(client: DaemonClient, containerId: string): Promise<number> {
  const { steps } = await client.history.get({ containerId });
  return steps.filter(({ what, detail }) => what === "shim died" && detail.startsWith("adopted")).length;
}

async function execute(client: DaemonClient, containerId: string, execId: string, args: string[]) {
  const spec = json(SPEC_PROCESS, { args, cwd: "/", env: ["PATH=/bin"], user: { uid: 0, gid: 0 } });
  await client.tasks.exec({ containerId, execId, stdin: "", stdout: "", stderr: "", terminal: false, spec });
  await client.tasks.start({ containerId, execId });
}

test("who waits gets the true code; execs, figures and kills work on; each event comes once", async () => {
  const client = await daemon.client();
  const pid = await start(daemon, client, "whole", WAITS);
  const waiting = client.tasks.wait({ containerId: "whole", execId: "" });
  await execute(client, "whole", "old", ["sh", "-c", "trap 'exit 5' TERM; while true; do sleep 0.1; done"]);
  const oldEnd = client.tasks.wait({ containerId: "whole", execId: "old" });
  await killAndAwait(client, "whole");
  assert.ok(isRunning(pid));
  const { process } = await client.tasks.get({ containerId: "whole", execId: "" });
  assert.equal(process?.pid, pid);
  assert.ok(((await client.tasks.metrics({ filters: ["id==whole"] })).metrics[0]?.data?.value.length ?? 0) > 0);
  await execute(client, "whole", "new", ["sh", "-c", "exit 9"]);
  assert.equal((await client.tasks.wait({ containerId: "whole", execId: "new" })).exitStatus, 9);
  await client.tasks.kill({ containerId: "whole", execId: "old", signal: 15, all: false });
  assert.equal((await oldEnd).exitStatus, 5);
  await client.tasks.kill({ containerId: "whole", execId: "", signal: 15, all: false });
  assert.equal((await waiting).exitStatus, 42);
  assert.equal((await client.tasks.delete({ containerId: "whole" })).exitStatus, 42);
  await events.first("its end", ({ topic, body }) => topic === "/tasks/delete" && body.container_id === "whole");
  assert.deepEqual(events.order("whole"), [
    "create",
    "start",
    "exec-added old",
    "exec-started old",
    "exec-added new",
    "exec-started new",
    "exit new",
    "exit old",
    "exit",
    "delete",
  ]);
  const { exit } = await client.history.get({ containerId: "whole" });
  assert.deepEqual([exit?.status, exit?.cause], [42, Cause.CAUSE_EXITED]);
  await client.containers.delete({ id: "whole" });
  client.close();
  assert.equal(await daemon.leftovers(), "");
});

test("a container that writes all the time loses no byte, however often it is adopted", async () => {
  const client = await daemon.client();
  const stdout = makeFifo(join(daemon.directory, "fifo", "counts"));
  await putOnRecord(daemon, client, "counts", COUNTS);
  await client.tasks.create({ containerId: "counts", rootfs: [], stdin: "", stdout, stderr: "", terminal: false, runtimePath: "" });
  const reader = new FifoReader(stdout);
  // Somebody who holds the other end too, or a reader would be at its end while there is no shim.
  const held = (await import("node:fs")).openSync(stdout, "r+");
  await client.tasks.start({ containerId: "counts", execId: "" });
  for (let round = 0; round < 3; round++) {
    const length = reader.text.length;
    await reader.until("output", (text) => text.length > length + 100_000);
    await killAndAwait(client, "counts");
  }
  const length = reader.text.length;
  await reader.until("output again", (text) => text.length > length + 100_000);
  await client.tasks.kill({ containerId: "counts", execId: "", signal: 15, all: false });
  assert.equal((await client.tasks.wait({ containerId: "counts", execId: "" })).exitStatus, 42);
  await client.tasks.delete({ containerId: "counts" });
  (await import("node:fs")).closeSync(held);
  await reader.ended;
  const numbers = reader.text.trimEnd().split("\n");
  const wrong = numbers.findIndex((text, index) => text !== String(index));
  assert.equal(wrong, -1, `line ${wrong} is ${numbers[wrong]}`);
  await client.containers.delete({ id: "counts" });
  client.close();
  assert.equal(await daemon.leftovers(), "");
});
