// Why containers ended, as the history tells it, and what becomes of those that are to be removed by the daemon.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Cause, type Exit } from "../../src/api/generated/history.ts";
import { AUTO_REMOVE_LABEL, CLIENT_LABEL, LOG_LABEL } from "../../src/api/labels.ts";
import type { DaemonClient } from "../../src/cli/containers/daemon-client.ts";
import { processIdentity } from "../../src/platform/node-process.ts";
import { createTask, putOnRecord, refusal, remove, start, statuses } from "../harness/containers.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { killForGood } from "../harness/keeper.ts";
import { isRunning } from "../harness/processes.ts";
import { GO_RUNTIME } from "../harness/runtime.ts";
import { ShimClient } from "../harness/shim-client.ts";

// What is told of a container that died with its shim: none is taken over.
const daemon = await Daemon.start({ kind: "holdfastd", config: ["[shim]", "adopt = false"] });
let client = await daemon.client();
after(async () => {
  client.close();
  await daemon.close();
});

const SLEEP = ["sleep", "1000"];
const UNTIL = (name: string, status: number): string[] => [
  "sh",
  "-c",
  `while [ ! -e /tmp/${name} ]; do sleep 0.01; done; exit ${status}`,
];

function endOf(id: string): Promise<Exit> {
  return eventually(`the end of ${id}`, async () => (await client.history.get({ containerId: id })).exit);
}

async function startLabelled(
  id: string,
  args: readonly string[],
  labels: Record<string, string>,
): Promise<number> {
  await putOnRecord(daemon, client, id, args, { labels: { [AUTO_REMOVE_LABEL]: "true", ...labels } });
  await createTask(client, id);
  return (await client.tasks.start({ containerId: id, execId: "" })).pid;
}

/** Resolves when there is no record any more. */
function gone(id: string, of: DaemonClient = client): Promise<unknown> {
  return eventually(`${id} to be gone`, async () => {
    return (await refusal(of.containers.get({ id })).catch(() => "")).startsWith("NOT_FOUND");
  });
}

test("a signal of a client, a signal from elsewhere, and an end of its own", async () => {
  await start(daemon, client, "asked", SLEEP);
  await client.tasks.kill({ containerId: "asked", execId: "", signal: 9, all: false });
  const asked = await endOf("asked");
  assert.equal(asked.cause, Cause.CAUSE_KILL_REQUEST);
  assert.match(
    asked.causeDetail,
    new RegExp(`^signal 9, asked for by holdfast/\\S+ \\(pid ${process.pid}\\)`),
  );
  const { steps } = await client.history.get({ containerId: "asked" });
  assert.ok(
    steps.some(({ what, detail }) => what === "tasks.Kill" && detail.startsWith("signal 9, asked for by")),
  );
  process.kill(await start(daemon, client, "elsewhere", SLEEP), "SIGKILL");
  assert.equal((await endOf("elsewhere")).cause, Cause.CAUSE_SIGNAL);
  await start(daemon, client, "itself", ["sh", "-c", "exit 4"]);
  const itself = await endOf("itself");
  assert.deepEqual([itself.cause, itself.causeDetail], [Cause.CAUSE_EXITED, "exit status 4"]);
  for (const id of ["asked", "elsewhere", "itself"]) await remove(client, id);
});

test("a container that is killed in order to be deleted was deleted by force", async () => {
  await start(daemon, client, "forced", SLEEP);
  await client.forReason("delete").tasks.kill({ containerId: "forced", execId: "", signal: 9, all: true });
  assert.equal((await endOf("forced")).cause, Cause.CAUSE_DELETED_BY_FORCE);
  await remove(client, "forced");
});

test("a shim that is killed leaves a trace, and is the cause of the end", async () => {
  await start(daemon, client, "orphan", SLEEP);
  killForGood(await daemon.shimPid("orphan"));
  const end = await endOf("orphan");
  assert.deepEqual([end.status, end.cause], [137, Cause.CAUSE_SHIM_DIED]);
  const { steps } = await eventually("its end to be published", async () => {
    const history = await client.history.get({ containerId: "orphan" });
    return history.steps.some(({ what }) => what === "/tasks/exit") ? history : undefined;
  });
  const trace = steps.findIndex(({ what }) => what === "shim died");
  assert.ok(
    trace >= 0 && trace < steps.findIndex(({ what }) => what === "/tasks/exit"),
    JSON.stringify(steps.map(({ what }) => what)),
  );
  assert.match(steps[trace]?.detail ?? "", /killed in cleaning up/);
  await client.containers.delete({ id: "orphan" });
});

test("a shim that is killed when its container has ended is not the cause", async () => {
  await start(daemon, client, "earlier", UNTIL("earlier", 6));
  const shim = await daemon.shimPid("earlier");
  await daemon.touch("earlier");
  assert.equal((await endOf("earlier")).status, 6);
  // What was published counts, whatever can be made of the remains.
  rmSync(join(daemon.bundle("earlier"), "holdfast.state"));
  killForGood(shim);
  const { steps } = await eventually("the trace", async () => {
    const history = await client.history.get({ containerId: "earlier" });
    return history.steps.some(({ what }) => what === "/tasks/delete") ? history : undefined;
  });
  const end = await endOf("earlier");
  assert.deepEqual([end.status, end.cause], [6, Cause.CAUSE_EXITED]);
  assert.equal(steps.filter(({ what }) => what === "/tasks/exit").length, 1);
  assert.equal(steps.find(({ what }) => what === "/tasks/delete")?.detail, "exit status 6");
  await client.containers.delete({ id: "earlier" });
});

test("a container that is to be removed goes with its task and its log, and how it ended is still answered", async () => {
  const log = join(daemon.directory, "removed.log");
  writeFileSync(log, "output");
  await startLabelled("brief", UNTIL("brief", 7), { [LOG_LABEL]: log });
  const waiting = client.history.wait({ containerId: "brief" });
  const task = client.tasks.wait({ containerId: "brief", execId: "" });
  await daemon.touch("brief");
  assert.equal((await task).exitStatus, 7);
  assert.equal((await waiting).exit?.status, 7);
  await gone("brief");
  assert.equal((await client.history.wait({ containerId: "brief" })).exit?.status, 7);
  await eventually("the log to be gone", () => !existsSync(log));
  assert.equal(await daemon.leftovers(), "");
});

test("a removal that finds the task gone from its shim goes on until the daemon has found that out too", async () => {
  // Debian's shim does not answer twice to a Delete, and stays until it is let go.
  await putOnRecord(daemon, client, "deleted", SLEEP, {
    labels: { [AUTO_REMOVE_LABEL]: "true" },
    runtime: { name: GO_RUNTIME },
  });
  await createTask(client, "deleted");
  await client.tasks.start({ containerId: "deleted", execId: "" });
  const shim = await ShimClient.ofBundle(daemon.bundle("deleted"));
  process.kill(daemon.pid, "SIGSTOP");
  try {
    await shim.kill("deleted", 9);
    await shim.wait("deleted");
    await shim.delete("deleted");
  } finally {
    process.kill(daemon.pid, "SIGCONT");
  }
  await eventually("an attempt in vain", () => daemon.log.includes("its task is still there"));
  await client.containers.get({ id: "deleted" });
  // It may be gone before it has answered.
  await shim.task.shutdown({ id: "deleted", now: false }).catch(() => {});
  shim.close();
  await gone("deleted");
  assert.equal(await daemon.leftovers(), "");
});

test("a container whose client ends before the start goes, created or not, also under the next daemon", async () => {
  const holders = [1, 2, 3].map(() => spawn("sleep", ["100000"], { stdio: "ignore" }));
  const [first, second, third] = holders;
  const labels = (of: typeof first): Record<string, string> => ({
    [AUTO_REMOVE_LABEL]: "true",
    [CLIENT_LABEL]: processIdentity(of?.pid),
  });
  const end = async (holder: typeof first): Promise<void> => {
    holder?.kill("SIGKILL");
    await once(holder as NonNullable<typeof first>, "exit");
  };
  await putOnRecord(daemon, client, "waits", SLEEP, { labels: labels(third) });
  // Nobody is known to have made it: as one of ctr's.
  await putOnRecord(daemon, client, "nobodys", SLEEP, { labels: { [AUTO_REMOVE_LABEL]: "true" } });
  await putOnRecord(daemon, client, "recorded", SLEEP, { labels: labels(first) });
  await putOnRecord(daemon, client, "created", SLEEP, { labels: labels(first) });
  const pid = await createTask(client, "created");
  await startLabelled("started", SLEEP, labels(first));
  await end(first);
  await gone("recorded");
  await gone("created");
  assert.equal(isRunning(pid), false);
  await putOnRecord(daemon, client, "recorded", SLEEP, { labels: labels(second) });
  await putOnRecord(daemon, client, "created", SLEEP, { labels: labels(second) });
  const again = await createTask(client, "created");
  client.close();
  await daemon.kill();
  await end(second);
  await daemon.launch();
  client = await daemon.client();
  await gone("recorded");
  await gone("created");
  assert.equal(isRunning(again), false);
  assert.equal((await statuses(client)).started, "RUNNING");
  for (const id of ["waits", "nobodys"]) await client.containers.get({ id });
  await end(third);
  await gone("waits");
  await client.tasks.kill({ containerId: "started", execId: "", signal: 9, all: true });
  await gone("started");
  await client.containers.delete({ id: "nobodys" });
  assert.equal(await daemon.leftovers(), "");
});

test("one without the label stays, and so does one whose label says no", async () => {
  await start(daemon, client, "stays", ["true"]);
  await startLabelled("stays-too", ["true"], { [AUTO_REMOVE_LABEL]: "false" });
  for (const id of ["stays", "stays-too"]) await endOf(id);
  await startLabelled("marker", ["true"], {});
  await gone("marker");
  for (const id of ["stays", "stays-too"]) {
    assert.equal((await client.tasks.get({ containerId: id, execId: "" })).process?.exitStatus, 0);
    await remove(client, id);
  }
});

test("the client that made it may be dead, and the daemon away when it ends", async () => {
  const own = await daemon.client();
  await putOnRecord(daemon, own, "alone", UNTIL("alone", 8), { labels: { [AUTO_REMOVE_LABEL]: "true" } });
  await createTask(own, "alone");
  const { pid } = await own.tasks.start({ containerId: "alone", execId: "" });
  own.close();
  client.close();
  await daemon.kill();
  await daemon.touch("alone");
  await eventually("it to end", () => !isRunning(pid));
  await daemon.launch();
  client = await daemon.client();
  await gone("alone");
  assert.equal((await client.history.wait({ containerId: "alone" })).exit?.status, 8);
  // Also when the shim has died too.
  const second = await startLabelled("alone2", SLEEP, {});
  const shim = await daemon.shimPid("alone2");
  client.close();
  await daemon.kill();
  killForGood(shim);
  await daemon.launch();
  client = await daemon.client();
  await gone("alone2");
  assert.equal(isRunning(second), false);
  assert.equal((await client.history.wait({ containerId: "alone2" })).exit?.cause, Cause.CAUSE_SHIM_DIED);
  assert.equal(await daemon.leftovers(), "");
});

test("a daemon that dies between an end and the removal leaves it to the next", async () => {
  await startLabelled("between", UNTIL("between", 9), {});
  client.close();
  await daemon.kill();
  await daemon.launch({ HOLDFAST_FAILPOINT: "delete:answered" });
  await daemon.touch("between");
  await daemon.ended();
  await daemon.launch();
  client = await daemon.client();
  await gone("between");
  assert.equal((await client.history.wait({ containerId: "between" })).exit?.status, 9);
  assert.equal(await daemon.leftovers(), "");
});
