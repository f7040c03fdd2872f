// Exits that were lost, late, doubled or out of order with other shims. Numbers are issues of containerd/containerd.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { RuncGate } from "../harness/gate.ts";
import { catches } from "../harness/processes.ts";
import { failsOnGoShim } from "../harness/runtime.ts";
import type { ShimClient } from "../harness/shim-client.ts";
import { times } from "./size.ts";

const place = await Playground.create();
after(() => place.close());

const SLEEP = { args: ["sleep", "100000"] };

async function running(id: string, spec: Parameters<Playground["shim"]>[1]): Promise<ShimClient> {
  const shim = await place.shim(id, spec);
  await shim.create(id, place.bundle(id));
  await shim.start(id);
  return shim;
}

/** Starts an exec; one that is refused because the container has ended meanwhile is told by false. */
async function tryExec(
  shim: ShimClient,
  id: string,
  execId: string,
  args: readonly string[],
): Promise<boolean> {
  try {
    await shim.exec(id, execId, args);
    await shim.start(id, execId);
    return true;
  } catch {
    return false;
  }
}

/** Asserts that every exec that started has one exit, after its start, and that the init's exit is the last and only one. */
function assertWholeStory(id: string, started: readonly string[]): void {
  const order = place.events.order(id);
  for (const execId of started) {
    const [start, exit] = [order.indexOf(`exec-started ${execId}`), order.indexOf(`exit ${execId}`)];
    assert.ok(
      start >= 0 && exit > start,
      `${execId}: started at ${start}, ended at ${exit} of ${order.length}`,
    );
  }
  const exits = order.filter((topic) => topic.startsWith("exit "));
  assert.equal(new Set(exits).size, exits.length, "an exit is told twice");
  assert.equal(order.filter((topic) => topic === "exit").length, 1);
  assert.ok(order.lastIndexOf("exit") > Math.max(-1, ...exits.map((exit) => order.indexOf(exit))));
}

test("execs in a storm, OOM kills among them, and the init killed in the middle: every exit is told (13814, 13849, 10603)", {
  skip: failsOnGoShim("the init's exit may come before those of its execs"),
}, async () => {
  const count = times(120, 500);
  const shim = await running("storm", { ...SLEEP, memoryLimitBytes: 64 << 20 });
  const hungry = ["sh", "-c", "cat /dev/zero | tail"];
  const execs = Array.from({ length: count }, (_, index) => `e${index}`);
  const attempts = execs.map((execId, index) =>
    tryExec(
      shim,
      "storm",
      execId,
      index % Math.ceil(count / 10) === 5 ? hungry : ["sleep", index % 2 === 0 ? "0" : "1000"],
    ),
  );
  await place.events.arrived("/tasks/oom", "storm");
  await Promise.race([
    Promise.all(attempts),
    place.events.arrived("/tasks/exec-started", "storm", `e${count >> 1}`),
  ]);
  await shim.kill("storm", 9);
  assert.equal((await shim.wait("storm")).exitStatus, 137);
  await place.events.arrived("/tasks/exit", "storm", "storm");
  const outcomes = await Promise.all(attempts);
  assertWholeStory(
    "storm",
    execs.filter((_, index) => outcomes[index]),
  );
  await shim.delete("storm");
  await place.forget(shim, "storm");
});

for (const hostPid of [false, true]) {
  const where = hostPid ? "in the host's pid namespace" : "in a pid namespace of its own";
  test(`execs that race with the end of a container ${where} are told before it (9719, 9999, 10651)`, {
    skip: failsOnGoShim("the init's exit may come before those of its execs"),
  }, async () => {
    for (let round = 0; round < times(25, 1000); round++) {
      const id = `race-${hostPid}-${round}`;
      const shim = await running(id, { ...SLEEP, hostPid });
      const attempts = ["a", "b", "c"].map((execId) => tryExec(shim, id, execId, ["sleep", "100000"]));
      await attempts[0];
      await shim.kill(id, 9);
      await place.events.arrived("/tasks/exit", id, id);
      const outcomes = await Promise.all(attempts);
      assertWholeStory(
        id,
        ["a", "b", "c"].filter((_, index) => outcomes[index]),
      );
      await shim.delete(id);
      await place.forget(shim, id);
    }
  });
}

test("an exec whose start is under way when its container in the host's pid namespace ends does not outlive it (9719)", {
  skip: failsOnGoShim("the exec goes on, and so does its shim"),
}, async () => {
  // Between its look at the container and its entry runc exec cannot be held: so this one enters late, and looks never.
  const late = join(place.directory, "late-runc");
  writeFileSync(
    late,
    `#!/bin/sh
case " $* " in *" exec "*) ;; *) exec runc "$@" ;; esac
while [ "$1" != --pid-file ]; do shift; done
sleep 100000 &
echo $! >"$2"
`,
    { mode: 0o755 },
  );
  const gate = new RuncGate(place.directory, late);
  const kills = (): number => readFileSync(join(gate.directory, "calls"), "utf8").split("kill").length - 1;
  const shim = await place.shim("late", { ...SLEEP, hostPid: true });
  await shim.create("late", place.bundle("late"), { options: { binaryName: gate.program } });
  await shim.start("late");
  await shim.exec("late", "e", ["sleep", "100000"]);
  gate.hold("exec");
  const starting = shim.start("late", "e");
  await gate.held("exec");
  await shim.kill("late", 9);
  await eventually("the rest of the container to be killed", () => kills() === 2);
  gate.release("exec");
  await starting;
  await place.events.arrived("/tasks/exit", "late", "late");
  assertWholeStory("late", ["e"]);
  await shim.delete("late");
  await place.forget(shim, "late");
});

test("an exit is not held for ever by a runc start that hangs, and the start is told before it", {
  skip: failsOnGoShim("the exit is held until runc ends"),
}, async () => {
  const gate = new RuncGate(place.directory);
  const shim = await place.shim("overtaken", { args: ["sh", "-c", "exit 5"] });
  await shim.create("overtaken", place.bundle("overtaken"), { options: { binaryName: gate.program } });
  gate.linger("start");
  const starting = shim.start("overtaken");
  const exit = await place.events.arrived("/tasks/exit", "overtaken", "overtaken");
  assert.equal(exit.body.exitStatus, 5);
  gate.release("start");
  await starting;
  assert.equal((await shim.state("overtaken")).exitStatus, 5);
  await shim.delete("overtaken");
  await place.events.arrived("/tasks/delete", "overtaken");
  assert.deepEqual(place.events.order("overtaken"), ["create", "start", "exit", "delete"]);
  await place.forget(shim, "overtaken");
});

test("an exit while the daemon is away is told when it is back (moby 41227)", {
  skip: failsOnGoShim("the publisher gives up after a few tries"),
}, async () => {
  const shim = await running("away", {
    args: ["until-signal", "TERM=42"],
  });
  await place.events.arrived("/tasks/start", "away");
  const { pid } = await shim.state("away");
  await eventually("the trap", () => catches(pid, 15));
  await place.events.close();
  await shim.kill("away", 15);
  assert.equal((await shim.wait("away")).exitStatus, 42);
  await new Promise((resolve) => setTimeout(resolve, times(4_000, 60_000)));
  assert.ok(!place.events.order("away").includes("exit"));
  await place.events.open();
  const { body } = await place.events.arrived("/tasks/exit", "away");
  assert.equal(body.exitStatus, 42);
  await shim.delete("away");
  await place.events.arrived("/tasks/delete", "away");
  assert.deepEqual(place.events.order("away"), ["create", "start", "exit", "delete"]);
  await place.forget(shim, "away");
});

test("nothing is left behind", async () => {
  assert.equal(await place.leftovers(), "");
});
