// Under holdfastd a container lives on when its shim and the shim's keeper are both killed: another shim takes it over, and nobody who waits, reads or counts
// events notices.
import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { SPEC_PROCESS } from "../../src/api/any.ts";
import { Cause } from "../../src/api/generated/history.ts";
import { Status } from "../../src/api/generated/process.ts";
import type { DaemonClient } from "../../src/cli/containers/daemon-client.ts";
import { Cli } from "../cli/cli.ts";
import {
  createTask,
  putOnRecord,
  recordOf,
  refusal,
  remove,
  specFor,
  start,
  statuses,
} from "../harness/containers.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { FifoReader, makeFifo } from "../harness/fifo.ts";
import { keepersBelow, killForGood } from "../harness/keeper.ts";
import { catches, isRunning } from "../harness/processes.ts";
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
  assert.equal((await client.tasks.get({ containerId: "whole", execId: "" })).process?.pid, pid);
  assert.ok(
    ((await client.tasks.metrics({ filters: ["id==whole"] })).metrics[0]?.data?.value.length ?? 0) > 0,
  );
  await execute(client, "whole", "new", ["sh", "-c", "exit 9"]);
  assert.equal((await client.tasks.wait({ containerId: "whole", execId: "new" })).exitStatus, 9);
  await client.tasks.kill({ containerId: "whole", execId: "old", signal: 15, all: false });
  assert.equal((await oldEnd).exitStatus, 5);
  await client.tasks.kill({ containerId: "whole", execId: "", signal: 15, all: false });
  assert.equal((await waiting).exitStatus, 42);
  assert.equal((await client.tasks.delete({ containerId: "whole" })).exitStatus, 42);
  await events.first(
    "its end",
    ({ topic, body }) => topic === "/tasks/delete" && body.container_id === "whole",
  );
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
  await client.tasks.create({
    containerId: "counts",
    rootfs: [],
    stdin: "",
    stdout,
    stderr: "",
    terminal: false,
    runtimePath: "",
  });
  const reader = new FifoReader(stdout);
  // Somebody who holds the other end too, or a reader would be at its end while there is no shim.
  const held = openSync(stdout, "r+");
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
  closeSync(held);
  await reader.ended;
  const numbers = reader.text.trimEnd().split("\n");
  const wrong = numbers.findIndex((text, index) => text !== String(index));
  assert.equal(wrong, -1, `line ${wrong} is ${numbers[wrong]}`);
  await client.containers.delete({ id: "counts" });
  client.close();
  assert.equal(await daemon.leftovers(), "");
});

test("a daemon that was dead meanwhile has it taken over at its start; a second time as well", async () => {
  const before = await daemon.client();
  const pid = await start(daemon, before, "later", WAITS);
  const stopped = await start(daemon, before, "over", ["sh", "-c", "exit 6"]);
  await before.tasks.wait({ containerId: "over", execId: "" });
  before.close();
  for (let round = 0; round < 2; round++) {
    await daemon.kill();
    for (const id of ["later", "over"]) killForGood(await shimOf(id));
    await daemon.launch();
    const client = await daemon.client();
    await eventually("both", async () => (await statuses(client)).later === "RUNNING");
    await eventually("the ended one", async () => (await statuses(client)).over === "STOPPED");
    assert.equal((await client.tasks.get({ containerId: "later", execId: "" })).process?.pid, pid);
    client.close();
  }
  const client = await daemon.client();
  const waiting = client.tasks.wait({ containerId: "later", execId: "" });
  await client.tasks.kill({ containerId: "later", execId: "", signal: 15, all: false });
  assert.equal((await waiting).exitStatus, 42);
  const { exitStatus, pid: deleted } = await client.tasks.delete({ containerId: "over" });
  assert.deepEqual([exitStatus, deleted], [6, stopped]);
  await client.tasks.delete({ containerId: "later" });
  for (const id of ["later", "over"]) await client.containers.delete({ id });
  client.close();
  assert.equal(await daemon.leftovers(), "");
});

test("a container that ends while nobody watches has its true status, or an unknown one that is called so", async () => {
  const before = await daemon.client();
  const pid = await start(daemon, before, "missed", WAITS);
  await eventually("the trap", () => catches(pid, 15));
  before.close();
  await daemon.kill();
  killForGood(await shimOf("missed"));
  process.kill(pid, "SIGTERM");
  await eventually("its end", () => !isRunning(pid));
  // Whoever its parent is now may have reaped it, or not yet.
  const isZombie = existsSync(`/proc/${pid}`);
  await daemon.launch();
  const client = await daemon.client();
  const { exitStatus } = await client.tasks.wait({ containerId: "missed", execId: "" });
  const { exit } = await eventually("the record", async () => {
    const history = await client.history.get({ containerId: "missed" });
    return history.exit === undefined ? undefined : history;
  });
  const known = [42, Cause.CAUSE_EXITED];
  const unknown = [255, Cause.CAUSE_STATUS_UNKNOWN];
  assert.deepEqual([exitStatus, exit?.cause], isZombie && exitStatus === 42 ? known : unknown);
  const cli = new Cli(daemon);
  const [shown] = (await cli.json(["inspect", "missed"])) as {
    exit: { cause: string; causeDetail: string };
  }[];
  assert.equal(shown?.exit.cause, exitStatus === 42 ? "exited" : "status unknown");
  if (exitStatus === 255) assert.match(shown?.exit.causeDetail ?? "", /nobody knows/);
  cli.close();
  await client.tasks.delete({ containerId: "missed" });
  await client.containers.delete({ id: "missed" });
  client.close();
  assert.equal(await daemon.leftovers(), "");
});

test("an OOM kill in an adopted container is told of before its exit; so is one that came while it had no shim", async () => {
  const client = await daemon.client();
  const memory = { limit: 20 << 20 };
  for (const id of ["greedy", "greedy-before"]) {
    daemon.ctr.ids.add(id);
    const args = ["sh", "-c", `until [ -e /tmp/go-${id} ]; do sleep 0.05; done; tail /dev/zero; exit 3`];
    const spec = specFor(daemon, id, { args }) as { linux: { resources?: object } };
    spec.linux.resources = { ...spec.linux.resources, memory };
    await client.containers.create({ container: recordOf(id, spec) });
    await createTask(client, id);
    await client.tasks.start({ containerId: id, execId: "" });
  }
  await killAndAwait(client, "greedy");
  await daemon.touch("go-greedy");
  await client.tasks.wait({ containerId: "greedy", execId: "" });
  client.close();
  await daemon.kill();
  killForGood(await shimOf("greedy-before"));
  const counter = `/sys/fs/cgroup/memory/${daemon.namespace}/greedy-before/memory.oom_control`;
  const unified = `/sys/fs/cgroup/${daemon.namespace}/greedy-before/memory.events`;
  await daemon.touch("go-greedy-before");
  await eventually("the OOM kill", () =>
    /oom_kill [1-9]/.test(readFileSync(existsSync(counter) ? counter : unified, "utf8")),
  );
  await daemon.launch();
  const next = await daemon.client();
  await next.tasks.wait({ containerId: "greedy-before", execId: "" });
  for (const id of ["greedy", "greedy-before"]) {
    const { steps, exit } = await eventually("its history", async () => {
      const history = await next.history.get({ containerId: id });
      return history.steps.some(({ what }) => what === "/tasks/exit") ? history : undefined;
    });
    const told = steps.map(({ what }) => what).filter((what) => ["/tasks/oom", "/tasks/exit"].includes(what));
    assert.deepEqual(told, ["/tasks/oom", "/tasks/exit"], id);
    assert.equal(exit?.oom, true);
    await next.tasks.delete({ containerId: id });
    await next.containers.delete({ id });
  }
  next.close();
  assert.equal(await daemon.leftovers(), "");
});

test("the containers of a pod are all taken over, by one shim", async () => {
  const client = await daemon.client();
  const ids = ["pod-a", "pod-b", "pod-c"];
  for (const id of ids) {
    daemon.ctr.ids.add(id);
    const annotations = { "io.kubernetes.cri.sandbox-id": "pod-a" };
    const spec = { ...(specFor(daemon, id, { args: WAITS }) as object), annotations };
    await client.containers.create({ container: recordOf(id, spec) });
    await createTask(client, id);
    await client.tasks.start({ containerId: id, execId: "" });
  }
  const former = await shimOf("pod-b");
  killForGood(former);
  // Some of them may find a shim there already that has taken over all.
  for (const id of ids) {
    await eventually(id, async () => (await shimOf(id).catch(() => former)) !== former);
    assert.equal((await client.tasks.get({ containerId: id, execId: "" })).process?.status, Status.RUNNING);
  }
  const shims = new Set(await Promise.all(ids.map(shimOf)));
  assert.equal(shims.size, 1);
  assert.ok(!shims.has(former));
  for (const id of ids.toReversed()) {
    await client.tasks.kill({ containerId: id, execId: "", signal: 15, all: false });
    assert.equal((await client.tasks.wait({ containerId: id, execId: "" })).exitStatus, 42);
    await client.tasks.delete({ containerId: id });
    await client.containers.delete({ id });
  }
  client.close();
  assert.equal(await daemon.leftovers(), "");
});

test("a shim that its keeper has given up is replaced, terminal and all; the reason can still be read", async () => {
  const client = await daemon.client();
  const [stdin, stdout] = ["in", "out"].map((name) =>
    makeFifo(join(daemon.directory, "fifo", `typed-${name}`)),
  );
  assert.ok(stdin !== undefined && stdout !== undefined);
  daemon.ctr.ids.add("typed");
  const spec = specFor(daemon, "typed", { args: ["sh"], terminal: true });
  await client.containers.create({ container: recordOf("typed", spec) });
  const held = openSync(stdout, "r+");
  await client.tasks.create({
    containerId: "typed",
    rootfs: [],
    stdin,
    stdout,
    stderr: "",
    terminal: true,
    runtimePath: "",
  });
  await client.tasks.start({ containerId: "typed", execId: "" });
  const screen = new FifoReader(stdout);
  const keyboard = openSync(stdin, "w");
  writeSync(keyboard, "echo one-$((1+1))\n");
  await screen.until("the first answer", (text) => text.includes("one-2"));
  for (let death = 0; death < 3; death++) {
    const shim = await shimOf("typed");
    process.kill(shim, "SIGKILL");
    if (death < 2) await eventually("the next", async () => (await shimOf("typed")) !== shim);
  }
  await eventually("the adoption", async () => (await adoptions(client, "typed")) === 1);
  writeSync(keyboard, "echo two-$((2+2))\n");
  await screen.until("the second answer", (text) => text.includes("two-4"));
  await client.tasks.resizePty({ containerId: "typed", execId: "", width: 77, height: 33 });
  writeSync(keyboard, "stty size\n");
  await screen.until("the size", (text) => text.includes("33 77"));
  const reason = readFileSync(join(daemon.bundle("typed"), "holdfast.crash"), "utf8");
  assert.match(reason, /ended 3 times within a minute/);
  await eventually("one keeper", () => keepersBelow(daemon.directory).length === 1);
  writeSync(keyboard, "exit 7\n");
  assert.equal((await client.tasks.wait({ containerId: "typed", execId: "" })).exitStatus, 7);
  closeSync(keyboard);
  await client.tasks.delete({ containerId: "typed" });
  closeSync(held);
  await screen.ended;
  await client.containers.delete({ id: "typed" });
  client.close();
  assert.equal(await daemon.leftovers(), "");
});

/** Spoils the records of a container's shim, in its bundle. */
const SPOILED: Readonly<Record<string, (records: string) => void>> = {
  torn: (path) => truncateSync(path, 100),
  changed: (path) => {
    const bytes = readFileSync(path);
    const at = bytes.length >> 1;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    writeFileSync(path, bytes);
  },
  "of another version": (path) => writeFileSync(path, readFileSync(path).fill("9", 7, 8)),
  null: (path) => writeFileSync(path, "null"),
  empty: (path) => writeFileSync(path, ""),
  gone: (path) => rmSync(path),
  huge: (path) => truncateSync(path, 1 << 30),
  "a directory": (path) => {
    renameSync(path, `${path}.aside`);
    mkdirSync(path);
  },
  "a link": (path) => {
    renameSync(path, `${path}.aside`);
    symlinkSync(`${path}.aside`, path);
  },
};

for (const [name, spoil] of Object.entries(SPOILED)) {
  test(`records that are ${name} are named, and the container is cleaned up`, async () => {
    const client = await daemon.client();
    const id = `spoiled-${name.replaceAll(" ", "-")}`;
    const pid = await start(daemon, client, id, WAITS);
    const shim = await shimOf(id);
    process.kill(daemon.pid, "SIGSTOP");
    killForGood(shim);
    spoil(join(daemon.bundle(id), "holdfast.records"));
    process.kill(daemon.pid, "SIGCONT");
    const { exitStatus } = await client.tasks.wait({ containerId: id, execId: "" });
    assert.equal(exitStatus, 137);
    assert.ok(!isRunning(pid));
    const { steps, exit } = await client.history.get({ containerId: id });
    assert.equal(exit?.cause, Cause.CAUSE_SHIM_DIED);
    const trace = steps.find(({ what }) => what === "shim died");
    assert.match(
      trace?.detail ?? "",
      /no other shim could take it over \(.*holdfast\.records.*killed in cleaning up/,
    );
    await client.containers.delete({ id });
    client.close();
    assert.equal(await daemon.leftovers(), "");
  });
}

test("records of another container are not taken for its own", async () => {
  const client = await daemon.client();
  for (const id of ["mine", "yours"]) await start(daemon, client, id, WAITS);
  process.kill(daemon.pid, "SIGSTOP");
  const shim = await shimOf("mine");
  killForGood(shim);
  writeFileSync(
    join(daemon.bundle("mine"), "holdfast.records"),
    readFileSync(join(daemon.bundle("yours"), "holdfast.records")),
  );
  process.kill(daemon.pid, "SIGCONT");
  assert.equal((await client.tasks.wait({ containerId: "mine", execId: "" })).exitStatus, 137);
  assert.equal((await statuses(client)).yours, "RUNNING");
  await client.containers.delete({ id: "mine" });
  await remove(client, "yours");
  client.close();
  assert.equal(await daemon.leftovers(), "");
});

test("with adopt = false the container is killed and cleaned up", async () => {
  const other = await Daemon.start({ kind: "holdfastd", config: ["[shim]", "adopt = false"] });
  try {
    const client = await other.client();
    await start(other, client, "left", WAITS);
    const waiting = client.tasks.wait({ containerId: "left", execId: "" });
    assert.ok(!existsSync(join(other.bundle("left"), "holdfast.records")));
    killForGood(await other.shimPid("left"));
    assert.equal((await waiting).exitStatus, 137);
    assert.equal((await client.history.get({ containerId: "left" })).exit?.cause, Cause.CAUSE_SHIM_DIED);
    assert.match(await refusal(client.tasks.get({ containerId: "left", execId: "" })), /^NOT_FOUND/);
    await client.containers.delete({ id: "left" });
    client.close();
    assert.equal(await other.leftovers(), "");
  } finally {
    await other.close();
  }
});
