// Events and the daemon that they are for: away, hung, refusing, back at the last moment. Every exit arrives, and nothing piles up meanwhile.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { SPEC_PROCESS } from "../../src/api/any.ts";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { isRunning, memoryOf } from "../harness/processes.ts";
import { failsOnGoShim, isSanitizerBuild } from "../harness/runtime.ts";
import { json, type ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
after(() => place.close());

const notOurs = failsOnGoShim("it gives every event up after some tries");

/** Waits until the first event is under way, so that what the daemon does from now on meets it. */
async function runToEnd(shim: ShimClient, id: string): Promise<void> {
  await shim.create(id, place.bundle(id));
  await shim.start(id);
  await shim.wait(id);
}

async function finish(shim: ShimClient, id: string): Promise<void> {
  await shim.delete(id);
  await place.events.arrived("/tasks/delete", id);
  await place.forget(shim, id);
}

const never = new Promise<void>(() => {});
const poisons: Record<string, () => void | Promise<void>> = {
  "never acknowledges one event": () => never,
  "refuses one event": () => {
    throw new TtrpcError(Code.UNKNOWN, "not this one");
  },
  "refuses one event for ever": () => {
    throw new TtrpcError(Code.INVALID_ARGUMENT, "malformed");
  },
};

for (const [what, poison] of Object.entries(poisons)) {
  test(`a daemon that ${what} gets the exits that come after it`, { skip: notOurs }, async () => {
    const id = what.replaceAll(" ", "-");
    place.events.before = (topic) => (topic === "/tasks/create" ? poison() : undefined);
    const shim = await place.shim(id, { args: ["sh", "-c", "exit 6"] });
    await runToEnd(shim, id);
    assert.equal((await place.events.arrived("/tasks/exit", id)).body.exitStatus, 6);
    await finish(shim, id);
    place.events.before = () => {};
    assert.deepEqual(place.events.order(id), ["start", "exit", "delete"]);
  });
}

test("a daemon that stands still loses nothing, however long it does", { skip: notOurs }, async () => {
  let goOn = (): void => {};
  const still = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const attempts: string[] = [];
  place.events.before = (topic) => {
    attempts.push(topic);
    return still;
  };
  const shim = await place.shim("still", { args: ["sh", "-c", "exit 8"] });
  await runToEnd(shim, "still");
  // Long enough for the first event to have been sent again, and for the second to have been tried over its head.
  await eventually("some attempts", () => attempts.filter((topic) => topic === "/tasks/create").length >= 3);
  assert.ok(attempts.includes("/tasks/start"), attempts.join(", "));
  place.events.before = () => {};
  goOn();
  assert.equal((await place.events.arrived("/tasks/exit", "still")).body.exitStatus, 8);
  const order = place.events.order("still");
  assert.deepEqual([...new Set(order)], ["create", "start", "exit"]);
  await finish(shim, "still");
});

test("an event that no daemon could take keeps nothing behind it", { skip: notOurs }, async () => {
  const shim = await place.shim("large", { args: ["sleep", "1000"] });
  await shim.create("large", place.bundle("large"));
  await shim.start("large");
  // The request just fits into a message; the event of it has more around it.
  const spec = json(SPEC_PROCESS, {});
  const execId = "e".repeat(4 * 1024 * 1024 - 200);
  await shim.task.exec({ id: "large", execId, terminal: false, stdin: "", stdout: "", stderr: "", spec });
  await place.endContainer(shim, "large");
  assert.equal((await place.events.arrived("/tasks/exit", "large")).body.exitStatus, 137);
  assert.ok(!place.events.order("large").some((topic) => topic.startsWith("exec-added")));
  await place.events.arrived("/tasks/delete", "large");
  await place.forget(shim, "large");
});

test("while the daemon is away, an OOM again and again waits as one event", {
  skip: failsOnGoShim("it gives events up instead"),
}, async () => {
  const args = ["sh", "-c", "while true; do tail /dev/zero; done"];
  const shim = await place.shim("oom", { args, memoryLimitBytes: 16 * 1024 * 1024 });
  await place.events.close();
  await shim.create("oom", place.bundle("oom"));
  const init = await shim.start("oom");
  const kills = (): number => {
    const group = readFileSync(`/proc/${init}/cgroup`, "utf8");
    const path = group.match(/^\d+:memory:(.*)$/m)?.[1];
    const file =
      path === undefined
        ? `/sys/fs/cgroup${group.match(/^0::(.*)$/m)?.[1]}/memory.events`
        : `/sys/fs/cgroup/memory${path}/memory.oom_control`;
    return Number(readFileSync(file, "utf8").match(/^oom_kill (\d+)$/m)?.[1]);
  };
  await eventually("twenty OOM kills", () => kills() >= 20);
  assert.deepEqual((await shim.dump()).events, ["/tasks/create", "/tasks/start", "/tasks/oom"]);
  await shim.kill("oom", 9);
  await shim.wait("oom");
  await place.events.open();
  await place.events.arrived("/tasks/exit", "oom");
  const order = place.events.order("oom");
  assert.deepEqual(order.slice(0, 2), ["create", "start"]);
  assert.equal(order.at(-1), "exit");
  assert.ok(order.slice(2, -1).every((topic) => topic === "oom") && order.length <= 5, order.join(", "));
  await finish(shim, "oom");
});

test("what waits for a daemon takes bounded memory, and comes in order", {
  skip: notOurs,
}, async () => {
  const COUNT = isSanitizerBuild ? 800 : 4000;
  const shim = await place.shim("spill", { args: ["sleep", "1000"] });
  await shim.create("spill", place.bundle("spill"));
  await shim.start("spill");
  const { shimPid } = await shim.connect("spill");
  await place.events.arrived("/tasks/start", "spill");
  await place.events.close();
  const idle = memoryOf(shimPid).private;
  for (let n = 0; n < COUNT; n += 1) {
    const execId = `${n}-${"x".repeat(1000)}`;
    await shim.exec("spill", execId, ["true"]);
    await shim.delete("spill", execId);
  }
  const { events } = await shim.dump();
  assert.match(events.at(-1) ?? "", /^and \d+ more in a file$/);
  assert.ok(events.length < 1000, `${events.length} in memory`);
  if (!isSanitizerBuild) {
    await eventually("memory to be given back", () => memoryOf(shimPid).private - idle < 1500);
  }
  await place.events.open();
  await place.events.arrived("/tasks/exec-added", "spill", `${COUNT - 1}-${"x".repeat(1000)}`);
  const numbers = place.events.all
    .filter(({ topic, body }) => topic === "/tasks/exec-added" && body.containerId === "spill")
    .map(({ body }) => Number.parseInt(String(body.execId), 10));
  assert.deepEqual(
    numbers,
    Array.from({ length: COUNT }, (_, n) => n),
  );
  await eventually("the last one to be acknowledged", async () => (await shim.dump()).events.length === 0);
  await place.endContainer(shim, "spill");
  await place.events.arrived("/tasks/delete", "spill");
  await place.forget(shim, "spill");
});

test("a shim that is told to leave finds a daemon that comes back in its last second", {
  skip: notOurs,
}, async () => {
  const shim = await place.shim("last", { args: ["sh", "-c", "exit 3"] });
  await shim.create("last", place.bundle("last"));
  const { shimPid } = await shim.connect("last");
  await place.events.arrived("/tasks/create", "last");
  await place.events.close();
  await shim.start("last");
  await shim.wait("last");
  // Long enough away for pauses to have become long, if they do.
  await new Promise((next) => setTimeout(next, 4_000));
  process.kill(shimPid, "SIGTERM");
  await place.events.open();
  assert.equal((await place.events.arrived("/tasks/exit", "last")).body.exitStatus, 3);
  await eventually("the shim to end", () => !isRunning(shimPid));
  shim.close();
  await place.delete("last");
  await place.removeBundle("last");
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
