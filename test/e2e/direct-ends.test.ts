// How containers and their execs end, step by step: what is kept of them, in which order it leaves, and what goes when somebody else goes in the middle.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";
import { addressFile, Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { RuncGate } from "../harness/gate.ts";
import { killForGood } from "../harness/keeper.ts";
import { mountsBelow } from "../harness/leftovers.ts";
import { allPids, isRunning, memoryOf, processInfo } from "../harness/processes.ts";
import { failsOnGoShim, isSanitizerBuild } from "../harness/runtime.ts";
import { refusal, ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
const gate = new RuncGate(place.directory);
after(() => {
  gate.releaseAll();
  return place.close();
});

const SLEEP = { args: ["sleep", "100000"] };
const gated = { options: { binaryName: gate.program } };

async function running(id: string, spec: Parameters<Playground["shim"]>[1] = SLEEP): Promise<ShimClient> {
  const shim = await place.shim(id, spec);
  await shim.create(id, place.bundle(id), gated);
  await shim.start(id);
  return shim;
}

async function finish(shim: ShimClient, id: string): Promise<void> {
  await place.endContainer(shim, id);
  await place.forget(shim, id);
}

/** The exit that a successor would find in the bundle. */
function journalled(id: string): { status: number } | undefined {
  return JSON.parse(readFileSync(join(place.bundle(id), "holdfast.state"), "utf8")).exit;
}

// --- Delete

test("a client that asks twice for a Delete gets the same answer, the container's and an exec's", {
  skip: failsOnGoShim("the second is NOT_FOUND"),
}, async () => {
  const shim = await running("twice");
  await shim.exec("twice", "e", ["sh", "-c", "exit 3"]);
  await shim.start("twice", "e");
  await shim.wait("twice", "e");
  const first = await shim.delete("twice", "e");
  assert.equal(first.exitStatus, 3);
  assert.deepEqual(await shim.delete("twice", "e"), first);
  await shim.kill("twice", 9);
  await shim.wait("twice");
  const [one, other] = await Promise.all([shim.delete("twice"), shim.delete("twice")]);
  assert.equal(one.exitStatus, 137);
  assert.deepEqual(other, one);
  assert.deepEqual(await shim.delete("twice"), one);
  await place.forget(shim, "twice");
});

test("only the last answers to Delete are kept", {
  skip: failsOnGoShim("it keeps none"),
}, async () => {
  const shim = await running("bounded");
  const deletes = async (from: number, to: number): Promise<void> => {
    for (let index = from; index < to; index++) {
      await shim.exec("bounded", `e${index}`, ["true"]);
      await shim.delete("bounded", `e${index}`);
    }
  };
  await deletes(0, 8);
  await shim.delete("bounded", "e0");
  await deletes(8, 64);
  await refusal(Code.NOT_FOUND, shim.delete("bounded", "e0"));
  await shim.delete("bounded", "e63");
  await finish(shim, "bounded");
});

test("an exec id that is used again is the new exec's, not the remembered one's", async () => {
  const shim = await running("reused");
  for (const status of [4, 6]) {
    await shim.exec("reused", "e", ["sh", "-c", `exit ${status}`]);
    assert.equal((await shim.state("reused", "e")).status, 1);
    await shim.start("reused", "e");
    assert.equal((await shim.wait("reused", "e")).exitStatus, status);
    assert.equal((await shim.delete("reused", "e")).exitStatus, status);
    await refusal(Code.NOT_FOUND, shim.state("reused", "e"));
  }
  await shim.exec("reused", "e", ["sleep", "100000"]);
  await shim.start("reused", "e");
  await assert.rejects(shim.delete("reused", "e"), /cannot delete a running process/);
  await finish(shim, "reused");
});

// --- the journal

test("the journal has an exit before its event leaves", {
  skip: failsOnGoShim("it has no journal"),
}, async () => {
  const shim = await running("written");
  await shim.exec("written", "e", ["sleep", "100000"]);
  gate.hold("exec");
  const starting = shim.start("written", "e").catch(() => {});
  await gate.held("exec");
  await shim.kill("written", 9);
  // The event is held for the exec: what a successor would need is written all the same.
  assert.equal((await eventually("the exit in the journal", () => journalled("written")))?.status, 137);
  assert.ok(!place.events.order("written").includes("exit"));
  gate.release("exec");
  await starting;
  await shim.wait("written");
  await shim.delete("written");
  await place.forget(shim, "written");
});

test("an exit that cannot be written to the journal is published all the same", {
  skip: failsOnGoShim("it has no journal"),
}, async () => {
  const shim = await running("unwritten", { args: ["sh", "-c", "sleep 1000; exit 0"] });
  const obstacle = join(place.bundle("unwritten"), "holdfast.state.new");
  mkdirSync(obstacle);
  await shim.kill("unwritten", 9);
  const { body } = await place.events.arrived("/tasks/exit", "unwritten");
  assert.equal(body.exitStatus, 137);
  assert.equal(journalled("unwritten"), undefined);
  await eventually("the log to tell", () => place.log.includes("failed to write the exit to the journal"));
  rmdirSync(obstacle);
  await shim.delete("unwritten");
  await place.forget(shim, "unwritten");
});

// --- what goes with what

test("a container that joins a pid namespace by path dies whole with its init", {
  skip: failsOnGoShim("its background processes stay"),
}, async () => {
  const sandbox = await running("sandbox");
  const { pid } = await sandbox.state("sandbox");
  const shim = await place.shim("joined", {
    args: ["sh", "-c", "setsid sleep 54321 & while test ! -e /tmp/joined; do sleep 0.05; done; exit 6"],
  });
  const path = join(place.bundle("joined"), "config.json");
  const spec = JSON.parse(readFileSync(path, "utf8"));
  for (const namespace of spec.linux.namespaces) {
    if (namespace.type === "pid") namespace.path = `/proc/${pid}/ns/pid`;
  }
  writeFileSync(path, JSON.stringify(spec));
  await shim.create("joined", place.bundle("joined"));
  const init = await shim.start("joined");
  const child = await eventually("the background child", () =>
    allPids().find(
      (pid) => processInfo(pid)?.parent === init && processInfo(pid)?.commandLine.includes("54321"),
    ),
  );
  writeFileSync(join(place.rootfs, "tmp/joined"), "");
  assert.equal((await shim.wait("joined")).exitStatus, 6);
  await eventually("the child to end", () => !isRunning(child));
  assert.equal((await sandbox.state("sandbox")).status, 2);
  await shim.delete("joined");
  await place.forget(shim, "joined");
  await finish(sandbox, "sandbox");
});

test("a Create whose caller goes away is undone when the runtime is done", {
  skip: failsOnGoShim("it stays created"),
}, async () => {
  const shim = await place.shim("left", { ...SLEEP, rootfs: "rootfs" });
  const rootfs = [{ type: "bind", source: place.rootfs, target: "", options: ["rbind"] }];
  const caller = await ShimClient.connect(addressFile(place.bundle("left")));
  gate.hold("create");
  const creating = caller.create("left", place.bundle("left"), { ...gated, rootfs }).catch(() => {});
  await gate.held("create");
  caller.close();
  await creating;
  gate.release("create");
  await eventually("the id to be free", async () => {
    const attempt = shim.create("left", place.bundle("left"), { ...gated, rootfs });
    return attempt.then(
      () => true,
      () => false,
    );
  });
  await finish(shim, "left");
  assert.ok(!place.events.order("left").slice(1).includes("create"), "the first was never published");
});

test("a Create whose caller goes away and whose runtime hangs is undone too", {
  skip: failsOnGoShim("it hangs for ever"),
}, async () => {
  const shim = await place.shim("hung", { ...SLEEP, rootfs: "rootfs" });
  const rootfs = [{ type: "bind", source: place.rootfs, target: "", options: ["rbind"] }];
  const caller = await ShimClient.connect(addressFile(place.bundle("hung")));
  gate.hold("create");
  const creating = caller.create("hung", place.bundle("hung"), { ...gated, rootfs }).catch(() => {});
  const runtime = await gate.held("create");
  caller.close();
  await creating;
  await eventually("the runtime to be killed", () => !isRunning(runtime));
  await eventually("the mounts to go", () => mountsBelow(place.bundle("hung")).length === 0);
  gate.release("create");
  await refusal(Code.NOT_FOUND, shim.state("hung"));
  await place.forget(shim, "hung");
});

test("a runtime's command does not outlive its shim", {
  skip: failsOnGoShim("it does"),
}, async () => {
  const shim = await place.shim("orphaned", SLEEP);
  const { shimPid } = await shim.connect("orphaned");
  gate.hold("create");
  const creating = shim.create("orphaned", place.bundle("orphaned"), gated).catch(() => {});
  const runtime = await gate.held("create");
  killForGood(shimPid);
  await eventually("the runtime to end", () => !isRunning(runtime));
  gate.release("create");
  await creating;
  shim.close();
  assert.equal((await place.delete("orphaned")).status, 0);
  assert.equal(existsSync(place.runtimeState("orphaned")), false);
  await place.removeBundle("orphaned");
});

test("orphans are reaped while a start hangs, and the start still learns of its own process", {
  skip: failsOnGoShim("its reaper has no holds"),
}, async () => {
  const shim = await running("swept", {
    args: ["sh", "-c", "while sleep 0.2; do (sleep 0.3 &); done"],
    hostPid: true,
  });
  const { shimPid } = await shim.connect("swept");
  const zombies = (): number =>
    allPids().filter((pid) => {
      const info = processInfo(pid);
      return info?.parent === shimPid && info.state === "Z";
    }).length;
  await shim.exec("swept", "e", ["sh", "-c", "exit 9"]);
  gate.linger("exec");
  const starting = shim.start("swept", "e");
  await gate.held("exec");
  await eventually("an orphan that waits to be reaped", () => zombies() > 0);
  await eventually("all of them to be reaped", () => zombies() === 0);
  gate.release("exec");
  await starting;
  assert.equal((await shim.wait("swept", "e")).exitStatus, 9);
  await finish(shim, "swept");
});

// --- leaving

test("the last events reach the daemon when Shutdown follows Delete at once, and the daemon loses them at first", {
  skip: failsOnGoShim("it does not wait"),
}, async () => {
  const shim = await running("last");
  await shim.kill("last", 9);
  await shim.wait("last");
  await place.events.arrived("/tasks/exit", "last");
  // Not at the first time, and not before Shutdown is answered: a shim that only sends it, and goes, has lost it.
  let shutdownAnswered = (): void => {};
  const answered = new Promise<void>((resolve) => {
    shutdownAnswered = resolve;
  });
  let isFirst = true;
  place.events.before = async (topic) => {
    if (topic !== "/tasks/delete" || !isFirst) return;
    isFirst = false;
    await answered;
    throw new TtrpcError(Code.UNAVAILABLE, "the daemon restarts");
  };
  await shim.delete("last");
  await shim.shutdown("last");
  shutdownAnswered();
  await place.events.arrived("/tasks/delete", "last");
  place.events.before = () => {};
  shim.close();
  await place.removeBundle("last");
});

test("a Wait that is given up leaves nothing in the shim", {
  skip: isSanitizerBuild ? "its memory is its own" : failsOnGoShim("not looked at"),
}, async () => {
  const shim = await running("polled");
  const { shimPid } = await shim.connect("polled");
  const poll = (count: number): Promise<unknown> =>
    Promise.all(
      Array.from({ length: count }, () =>
        shim.task.wait({ id: "polled", execId: "" }, { timeoutMs: 20 }).catch(() => {}),
      ),
    );
  for (let round = 0; round < 5; round++) await poll(200);
  const settled = (): number => memoryOf(shimPid).private;
  const before = settled();
  for (let round = 0; round < 20; round++) await poll(200);
  // 4,000 at 3.4 kB each would be 13 MiB.
  await eventually("the memory to be given back", () => settled() - before < 3 << 10);
  await finish(shim, "polled");
});

test("memory that a burst of calls took is given back", {
  skip: isSanitizerBuild ? "its memory is its own" : failsOnGoShim("a garbage collector of another kind"),
}, async () => {
  const shim = await running("burst");
  const { shimPid } = await shim.connect("burst");
  const args = Array.from({ length: 100 }, (_, index) => `argument-${index}`);
  const burst = async (): Promise<void> => {
    const ids = Array.from({ length: 1500 }, (_, index) => `exec-${index}`);
    await Promise.all(ids.map((id) => shim.exec("burst", id, args)));
    await Promise.all(ids.map((id) => shim.delete("burst", id)));
  };
  const before = memoryOf(shimPid).private;
  await burst();
  // While events wait for the daemon they are kept. One that a busy machine acknowledges late comes twice.
  const added = (): number =>
    new Set(place.events.order("burst").filter((topic) => topic.startsWith("exec-added"))).size;
  await eventually("the events to arrive", () => added() === 1500);
  await shim.connect("burst");
  await eventually("the memory to be given back", () => memoryOf(shimPid).private - before < 2 << 10);
  await finish(shim, "burst");
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
