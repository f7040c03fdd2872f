// holdfastd is stopped, killed and started again, over containers that run, and over what should not be there.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { open } from "lmdb";
import { Status } from "../../src/api/generated/process.ts";
import { run } from "../harness/command.ts";
import { createTask, putOnRecord, refusal, remove, start, statuses } from "../harness/containers.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { RuncGate } from "../harness/gate.ts";
import { isRunning, openFiles } from "../harness/processes.ts";

const parent = mkdtempSync(join(tmpdir(), "holdfast-gate-"));
const gate = new RuncGate(parent);
const daemon = await Daemon.start({ kind: "holdfastd", pathDirectories: [gate.directory] });
after(async () => {
  await daemon.close();
  rmSync(parent, { recursive: true });
});

const SLEEP = ["sleep", "1000"];

test("a shim that does not answer delays nobody, and is back when it answers", async () => {
  const before = await daemon.client();
  const ids = ["one", "two", "three", "four"];
  for (const id of ids) await start(daemon, before, id, SLEEP);
  const stuck = await daemon.shimPid("two");
  before.close();
  process.kill(stuck, "SIGSTOP");
  try {
    await daemon.crashAndRestart();
    const client = await daemon.client();
    assert.deepEqual(await statuses(client), {
      one: "RUNNING",
      two: "UNKNOWN",
      three: "RUNNING",
      four: "RUNNING",
    });
    const { process: silent } = await client.tasks.get({ containerId: "two", execId: "" });
    assert.deepEqual([silent?.id, silent?.status], ["two", Status.UNKNOWN]);
    // The others can be used meanwhile.
    await remove(client, "one");
    process.kill(stuck, "SIGCONT");
    await eventually("it to answer", async () => (await statuses(client)).two === "RUNNING");
    for (const id of ids.slice(1)) await remove(client, id);
    client.close();
  } finally {
    // If all went well it has left.
    if (isRunning(stuck)) process.kill(stuck, "SIGCONT");
  }
  assert.equal(await daemon.leftovers(), "");
});

test("a shim holds none of the daemon's files", async () => {
  const client = await daemon.client();
  await start(daemon, client, "apart", SLEEP);
  const own = (path: string): boolean => path.startsWith(join(daemon.directory, "root"));
  assert.ok(openFiles(daemon.pid).some(own));
  assert.deepEqual(openFiles(await daemon.shimPid("apart")).filter(own), []);
  await remove(client, "apart");
  client.close();
});

test("a second daemon on the same root says who holds it, and the first goes on", async () => {
  const second = await run([...daemon.argv, "--address", join(daemon.directory, "second.sock")]);
  assert.equal(second.status, 1);
  assert.match(second.stderr, new RegExp(`in use by .*holdfastd.*pid ${daemon.pid}\\b.*${daemon.address}`));
  const client = await daemon.client();
  await client.version.version({});
  client.close();
});

test("a second daemon on the same state directory is refused too, and so is one on the same socket", async () => {
  const root = join(daemon.directory, "other-root");
  const sameState = await run([...daemon.argv, "--root", root]);
  assert.equal(sameState.status, 1);
  assert.match(sameState.stderr, new RegExp(`${daemon.directory}/state.*in use by .*pid ${daemon.pid}\\b`));
  const sameSocket = await run([
    ...daemon.argv,
    "--root",
    root,
    "--state",
    join(daemon.directory, "other-state"),
  ]);
  assert.equal(sameSocket.status, 1);
  assert.match(sameSocket.stderr, new RegExp(`${daemon.address}: another daemon`));
});

test("SIGTERM lets a call that runs end, and leaves the containers running", async () => {
  const client = await daemon.client();
  await start(daemon, client, "stays", SLEEP);
  await putOnRecord(daemon, client, "late", SLEEP);
  gate.hold("create");
  const creating = createTask(client, "late");
  await gate.held("create");
  const { pid } = await daemon.ctr.task("stays");
  const stopped = daemon.stop();
  await eventually("the socket to go", () => !existsSync(daemon.address));
  gate.release("create");
  assert.ok((await creating) > 0);
  await stopped;
  client.close();
  assert.ok(isRunning(pid));
  await daemon.launch();
  const again = await daemon.client();
  assert.deepEqual(await statuses(again), { stays: "RUNNING", late: "CREATED" });
  for (const id of ["stays", "late"]) await remove(again, id);
  again.close();
  assert.equal(await daemon.leftovers(), "");
});

test("how a container ended while no daemon ran is known, and so are its times and its use of resources", async () => {
  const client = await daemon.client();
  await start(daemon, client, "ended", ["sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.01; done; exit 5"]);
  await daemon.kill();
  const pid = Number(readFileSync(join(daemon.bundle("ended"), "init.pid"), "utf8"));
  await daemon.touch("go");
  await eventually("it to end", () => !isRunning(pid));
  await daemon.launch();
  const again = await daemon.client();
  const known = await eventually("the exit with its usage", async () => {
    const { exit } = await again.history.get({ containerId: "ended" });
    return exit?.usage === undefined ? undefined : exit;
  });
  assert.equal(known.status, 5);
  assert.equal(known.oom, false);
  assert.ok((known.exitedAt?.seconds ?? 0n) >= (known.startedAt?.seconds ?? 1n << 62n));
  assert.ok((known.usage?.cpuTotalNs ?? 0n) > 0n);
  assert.ok((known.usage?.memoryPeakBytes ?? 0n) > 0n);
  // Also when the task has gone, and over one more restart.
  await again.tasks.delete({ containerId: "ended" });
  await daemon.crashAndRestart();
  const third = await daemon.client();
  assert.deepEqual((await third.history.wait({ containerId: "ended" })).exit, known);
  await third.containers.delete({ id: "ended" });
  assert.match(await refusal(third.history.get({ containerId: "ended" })), /^NOT_FOUND/);
  for (const each of [client, again, third]) each.close();
});

test("half of a bundle is removed", async () => {
  const half = daemon.bundle("half");
  await daemon.kill();
  mkdirSync(join(half, "rootfs"), { recursive: true });
  writeFileSync(join(half, "config.json"), "{}");
  mkdirSync(join(dirname(half), ".removed-halfway"));
  await daemon.launch();
  await eventually(
    "it to be gone",
    () => !existsSync(half) && !existsSync(join(dirname(half), ".removed-halfway")),
  );
});

test("a bundle that makes no sense is named and left alone, and the rest loads", async () => {
  const client = await daemon.client();
  for (const id of ["good", "bad"]) await start(daemon, client, id, SLEEP);
  client.close();
  const { pid } = await daemon.ctr.task("bad");
  await daemon.kill();
  const file = join(daemon.bundle("bad"), "bootstrap.json");
  renameSync(file, `${file}.kept`);
  writeFileSync(file, '{"version": 2, "addr');
  await daemon.launch();
  assert.match(daemon.log, /bootstrap\.json.*broken JSON/);
  const second = await daemon.client();
  assert.deepEqual(await statuses(second), { good: "RUNNING" });
  assert.match(await refusal(createTask(second, "bad")), /^ALREADY_EXISTS: .*bootstrap\.json/);
  assert.ok(isRunning(pid));
  second.close();
  await daemon.kill();
  renameSync(`${file}.kept`, file);
  await daemon.launch();
  const third = await daemon.client();
  assert.deepEqual(await statuses(third), { good: "RUNNING", bad: "RUNNING" });
  for (const id of ["good", "bad"]) await remove(third, id);
  third.close();
});

test("a record that was damaged is named and set aside, and the rest loads", async () => {
  const client = await daemon.client();
  for (const id of ["sound", "damaged"]) await putOnRecord(daemon, client, id, SLEEP);
  client.close();
  await daemon.stop();
  const store = open({ path: join(daemon.directory, "root/store.mdb"), encoding: "binary", maxDbs: 8 });
  const records = store.openDB<Buffer, [string, string]>({ name: "containers", encoding: "binary" });
  const bytes = Buffer.from(records.get([daemon.namespace, "damaged"]) ?? []);
  bytes[20] = (bytes[20] ?? 0) ^ 1;
  await records.put([daemon.namespace, "damaged"], bytes);
  await store.close();
  await daemon.launch();
  assert.match(daemon.log, /"id":"damaged".*checksum/);
  const again = await daemon.client();
  assert.deepEqual(
    (await again.containers.list({ filters: [] })).containers.map(({ id }) => id),
    ["sound"],
  );
  await putOnRecord(daemon, again, "damaged", SLEEP);
  for (const id of ["sound", "damaged"]) await again.containers.delete({ id });
  again.close();
});

test("a store that is none is named, and not written over", async () => {
  await daemon.stop();
  const path = join(daemon.directory, "root/store.mdb");
  renameSync(path, `${path}.kept`);
  const rubbish = Buffer.alloc(64 * 1024, "rubbish");
  writeFileSync(path, rubbish);
  const started = await run(daemon.argv, { timeoutMs: 30_000 });
  assert.equal(started.status, 1);
  assert.match(started.stderr, /cannot open the store .*store\.mdb/);
  assert.deepEqual(readFileSync(path), rubbish);
  rmSync(path);
  renameSync(`${path}.kept`, path);
  await daemon.launch();
});

test("what is remembered of containers outlives the daemon, and is set aside if the machine went down on it", async () => {
  const boot = join(daemon.directory, "root/history.mdb-boot");
  const client = await daemon.client();
  await start(daemon, client, "past", ["true"]);
  await client.tasks.wait({ containerId: "past", execId: "" });
  await client.tasks.delete({ containerId: "past" });
  client.close();
  await daemon.kill();
  // As another boot would have left it.
  writeFileSync(boot, "00000000-0000-0000-0000-000000000000\n");
  await daemon.launch();
  assert.match(daemon.log, /went down.*history\.mdb\.unclean/);
  const again = await daemon.client();
  assert.equal((await again.containers.get({ id: "past" })).container?.id, "past");
  assert.deepEqual(await again.history.get({ containerId: "past" }), {
    startedAt: undefined,
    exit: undefined,
    steps: [],
  });
  await again.containers.delete({ id: "past" });
  again.close();
  await daemon.stop();
  assert.equal(existsSync(boot), false);
  await daemon.launch();
});

test("nothing is left behind", async () => assert.equal(await daemon.leftovers(), ""));
