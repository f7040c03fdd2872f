// Control groups of version 2, live: figures, limits, pause and OOM kills as the kernel has them there. Runs in the virtual machine (npm run test:vm),
// and on any host that has the unified hierarchy.
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Daemon } from "../harness/daemon.ts";
import { exitStatusOf } from "../harness/events.ts";
import { eventually, rounds } from "../harness/eventually.ts";
import { isRunning } from "../harness/processes.ts";
import { ShimClient } from "../harness/shim-client.ts";
import { notUnified } from "./needs.ts";

const skip = notUnified;
const daemon = skip === false ? await Daemon.start() : (undefined as never);
const events = skip === false ? await daemon.events() : (undefined as never);
after(() => (skip === false ? daemon.close() : undefined));

const SLEEP = ["sleep", "1000000"];
const HOG = "x=a; while true; do x=$x$x; done";

/** A file of a container's group. */
function groupFile(id: string, file: string): string {
  return join("/sys/fs/cgroup", daemon.namespace, id, file);
}
function read(id: string, file: string): string {
  return readFileSync(groupFile(id, file), "utf8").trim();
}

async function shimOf(id: string): Promise<ShimClient> {
  return ShimClient.ofBundle(daemon.bundle(id));
}

test("Stats has version 2's figures", { skip }, async () => {
  await daemon.ctr.start("figures", ["sh", "-c", "while true; do :; done"]);
  interface Figures {
    pids?: { current?: number };
    memory?: { usage?: number };
    cpu?: { usage_usec?: number };
  }
  await eventually("processor time", async () => {
    const { pids, memory, cpu } = (await daemon.ctr.metrics("figures")) as Figures;
    return (pids?.current ?? 0) >= 1 && (memory?.usage ?? 0) > 0 && (cpu?.usage_usec ?? 0) > 0;
  });
  await daemon.ctr.remove("figures");
});

test("pause freezes the group, resume thaws it", { skip }, async () => {
  await daemon.ctr.start("frozen", SLEEP);
  await daemon.ctr.do(["tasks", "pause", "frozen"]);
  assert.equal((await daemon.ctr.task("frozen")).status, "PAUSED");
  assert.match(read("frozen", "cgroup.events"), /frozen 1/);
  await daemon.ctr.do(["tasks", "resume", "frozen"]);
  assert.match(read("frozen", "cgroup.events"), /frozen 0/);
  assert.equal((await daemon.ctr.exec("frozen", "e", ["true"])).status, 0);
  await daemon.ctr.remove("frozen");
});

test("an update reaches memory.max, cpu.max and pids.max, and the limit on processes holds", {
  skip,
}, async () => {
  await daemon.ctr.start("limits", SLEEP);
  const shim = await shimOf("limits");
  const memory = { limit: 64 * 2 ** 20 };
  await shim.update("limits", { memory, cpu: { quota: 50_000, period: 100_000 }, pids: { limit: 6 } });
  shim.close();
  assert.equal(read("limits", "memory.max"), String(memory.limit));
  assert.equal(read("limits", "cpu.max"), "50000 100000");
  assert.equal(read("limits", "pids.max"), "6");
  const forks = "for n in 1 2 3 4 5 6 7 8; do sleep 1000000 & done; echo all";
  const { stdout, stderr } = await daemon.ctr.exec("limits", "forks", ["sh", "-c", forks]);
  // The shell's own, or the runtime's, which forks in the container as well.
  assert.match(stdout + stderr, /can't fork|init-p: connection reset|Resource temporarily unavailable/);
  await daemon.ctr.remove("limits");
});

test("the first process is killed for its memory: the OOM is told, then its exit with 137", {
  skip,
}, async () => {
  await daemon.ctr.start("hog", ["sh", "-c", HOG], { flags: ["--memory-limit", String(16 * 2 ** 20)] });
  await events.topicOf("/tasks/oom", "hog");
  assert.equal(exitStatusOf(await events.exitOf("hog")), 137);
  const order = events.order("hog");
  assert.ok(order.indexOf("oom") < order.indexOf("exit"), order.join(" "));
  await daemon.ctr.delete("hog");
});

test("a container that is out of memory at once has its OOM told before its exit, again and again", {
  skip,
}, async () => {
  for (let round = 0; round < rounds(10); round++) {
    const id = `at-once-${round}`;
    // Less, and runc's own first step is killed.
    const flags = ["--memory-limit", String(16 * 2 ** 20)];
    await daemon.ctr.start(id, ["sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=64M count=1"], { flags });
    assert.equal(exitStatusOf(await events.exitOf(id)), 137);
    assert.deepEqual(
      events.order(id).filter((each) => each === "oom" || each === "exit"),
      ["oom", "exit"],
    );
    await daemon.ctr.delete(id);
  }
});

test("a child is killed for its memory: the OOM is told, and the container goes on", { skip }, async () => {
  const script = `while true; do until [ -e /tmp/hungry ]; do sleep 0.05; done; rm /tmp/hungry; sh -c '${HOG}'; echo child-$?; done`;
  await daemon.ctr.start("parent", ["sh", "-c", script], { flags: ["--memory-limit", String(32 * 2 ** 20)] });
  await daemon.touch("hungry");
  await events.topicOf("/tasks/oom", "parent");
  assert.equal((await daemon.ctr.task("parent")).status, "RUNNING");
  await daemon.ctr.remove("parent");
});

test("a group that is killed as one (memory.oom.group): the OOM, every exec's exit, then the container's", {
  skip,
}, async () => {
  await daemon.ctr.start("together", SLEEP, { flags: ["--memory-limit", String(32 * 2 ** 20)] });
  writeFileSync(groupFile("together", "memory.oom.group"), "1");
  await daemon.ctr.do(daemon.ctr.execArgs("together", "idle", SLEEP, ["--detach"]));
  const { pid } = await daemon.ctr.task("together");
  const hog = await daemon.ctr.exec("together", "hog", ["sh", "-c", HOG]);
  assert.equal(hog.status, 137);
  assert.equal(exitStatusOf(await events.exitOf("together")), 137);
  await eventually("its first process to end", () => !isRunning(pid));
  const order = events.order("together").filter((each) => each === "oom" || each.startsWith("exit"));
  assert.equal(order[0], "oom");
  assert.equal(order.at(-1), "exit");
  assert.deepEqual(order.slice(1, -1).sort(), ["exit hog", "exit idle"]);
  await daemon.ctr.delete("together");
});

test("nothing is left behind, and no group", { skip }, async () => {
  assert.equal(await daemon.leftovers(), "");
  assert.equal(existsSync(groupFile("together", "cgroup.procs")), false);
});
