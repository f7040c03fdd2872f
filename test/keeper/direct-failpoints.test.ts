// The shim, or its keeper, is killed at every named place of its code, in the middle of one container's whole life: the life goes on as if nothing had
// been. Where these places are is told by HOLDFAST_FAILPOINT (docs/reliability.md).
import assert from "node:assert/strict";
import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Status } from "../../src/api/generated/process.ts";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { shimOver } from "../harness/keeper.ts";
import { isRunning } from "../harness/processes.ts";
import { liveWhole } from "./whole-life.ts";

const place = await Playground.create();
after(() => place.close());

const CALLS = [
  ...["Create", "Start", "Exec", "Delete", "Wait"].flatMap((call) => [`${call}:request`, `${call}:response`]),
  // Of the exec, of the one with a terminal, and of the container.
  ...["Start", "Delete"].flatMap((call) => [2, 3].map((turn) => `${call}:request#${turn}`)),
  ...["Start", "Delete"].flatMap((call) => [2, 3].map((turn) => `${call}:response#${turn}`)),
];
const TOPICS = ["create", "start", "exec-added", "exec-started", "exit", "exit#3", "delete"];
const EVENTS = TOPICS.flatMap((topic) => {
  const [name, turn] = topic.split("#");
  const which = turn === undefined ? "" : `#${turn}`;
  return [
    `publish/tasks/${topic}`,
    `Forward/tasks/${name}:request${which}`,
    `Forward/tasks/${name}:response${which}`,
  ];
});
const RUNTIME = ["create", "start", "exec", "exec#2", "delete"].flatMap((command) => {
  const [name, turn] = command.split("#");
  return ["running", "done"].map((when) => `runc ${name}:${when}${turn === undefined ? "" : `#${turn}`}`);
});
const CONNECTION = ["request:recorded", "request:taken", "answer:sent"].flatMap((name) =>
  [1, 4, 9].map((turn) => `${name}#${turn}`),
);
const RELAYS = ["relay:moved", "relay:moved#3", "relay:blocked"];
/** The second shim dies where it takes over from the first. */
const TWICE = [
  ...["Create:response", "Start:request", "runc exec:running", "publish/tasks/exit"].flatMap((first) => [
    `${first},resume:begun`,
    `${first},resume:containers`,
    `${first},effect#2`,
  ]),
];
/** The keeper, which has an exit to hand on. */
const KEEPER = ["runc create:done,keeper:handed-on", "runc create:done,keeper:reaped"];
/** When nobody can ask any more how often it has died. */
const LAST = ["leave:unnamed", "leave:done"];
/** In tests of their own: what comes after the first of these is no whole life. */
const ELSEWHERE = [
  "start:bound",
  "keeper:before-engine",
  "dump",
  "upgrade:settled",
  "keeper:gone",
  "relay:read",
];

const EVERYWHERE = [...CALLS, ...EVENTS, ...RUNTIME, ...CONNECTION, ...RELAYS, ...TWICE, ...KEEPER, ...LAST];

for (const [index, failpoint] of EVERYWHERE.entries()) {
  test(`killed at ${failpoint}`, async () => {
    const { deaths } = await liveWhole(place, `dies-${index}`, { HOLDFAST_FAILPOINT: failpoint });
    const wanted = failpoint.includes("keeper:") ? 1 : failpoint.split(",").length;
    if (!LAST.includes(failpoint)) assert.ok(deaths >= wanted, `${deaths} deaths: the place was not come to`);
  });
}

test("several requests that one read had written down are all answered by the next shim", async () => {
  const id = "at-once";
  // The third read takes both.
  const env = { HOLDFAST_FAILPOINT: "request:recorded#3" };
  const shim = await place.shim(id, { args: ["sleep", "1000"] }, { env });
  await shim.create(id, place.bundle(id));
  await shim.start(id);
  const { pid } = (await place.events.arrived("/tasks/start", id)).body;
  const first = shimOver(Number(pid));
  process.kill(first, "SIGSTOP");
  const waiting = shim.wait(id);
  const asked = shim.state(id);
  await new Promise((done) => setImmediate(done));
  process.kill(first, "SIGCONT");
  assert.equal((await asked).status, Status.RUNNING);
  assert.notEqual((await shim.connect(id)).shimPid, first, "it was killed there");
  await shim.kill(id, 9);
  assert.equal((await waiting).exitStatus, 137);
  await shim.delete(id);
  await place.forget(shim, id);
});

for (const failpoint of [
  "State:request",
  "State:response",
  "answer:sent#3",
  "request:recorded#3",
  "request:taken#3",
]) {
  test(`a question is answered once for its caller, by the shim or the next one, killed at ${failpoint}`, async () => {
    const id = failpoint.replace(/[:#]/g, "-");
    const env = { HOLDFAST_FAILPOINT: failpoint };
    const shim = await place.shim(id, { args: ["sleep", "1000"] }, { env });
    await shim.create(id, place.bundle(id));
    await shim.start(id);
    const { pid } = (await place.events.arrived("/tasks/start", id)).body;
    for (let turn = 0; turn < 2; turn++) {
      const state = await shim.state(id);
      assert.deepEqual([state.status, state.pid], [Status.RUNNING, Number(pid)]);
    }
    await eventually("a death", async () => (await shim.dump()).deaths === 1);
    await shim.kill(id, 9);
    assert.equal((await shim.wait(id)).exitStatus, 137);
    await shim.delete(id);
    await place.forget(shim, id);
  });
}

for (const failpoint of ["Start:response", "publish/tasks/exit", "Delete:request", "runc delete:done"]) {
  test(`a container with a logger, killed at ${failpoint}, is gone with its Delete, and its shim with the Shutdown`, async () => {
    const id = `logged-${failpoint.replace(/\W/g, "-")}`;
    const logged = place.log.length;
    const logger = join(place.directory, "logger");
    writeFileSync(logger, `#!/bin/sh\nexec 5>&-\nexec cat <&3 >>${place.directory}/log-$CONTAINER_ID\n`);
    chmodSync(logger, 0o755);
    const shim = await place.shim(
      id,
      { args: ["sh", "-c", "echo hello; exit 3"] },
      { env: { HOLDFAST_FAILPOINT: failpoint }, debug: true },
    );
    await shim.create(id, place.bundle(id), { stdout: `binary://${logger}` });
    await shim.exec(id, "never-started", ["true"]);
    await shim.start(id);
    assert.equal((await shim.wait(id)).exitStatus, 3);
    assert.equal((await shim.delete(id)).exitStatus, 3);
    assert.equal(readFileSync(join(place.directory, `log-${id}`), "utf8"), "hello\n");
    const { pid, deaths, containers } = await shim.dump();
    assert.deepEqual({ deaths, containers }, { deaths: 1, containers: [] });
    // What goes wrong in a Delete that is done already is in the log alone, and there before the call of Dump.
    await eventually("its log up to the dump", () => place.log.slice(logged).includes("Dump"));
    assert.ok(!place.log.slice(logged).includes("internal error"), place.log.slice(logged));
    await place.forget(shim, id);
    await eventually("its shim's end", () => !isRunning(pid));
  });
}

for (const [index, failpoint] of ["relay:read", "relay:moved", "relay:moved#2,relay:moved"].entries()) {
  test(`what is printed to a file is never in the shim's memory alone: nothing is lost at ${failpoint}`, async () => {
    const id = `filed-${index}`;
    const path = join(place.directory, `${id}.log`);
    const shim = await place.shim(
      id,
      // More than two turns of the loop take, a mebibyte each: there is something left for each of the deaths.
      { args: ["sh", "-c", "yes a | head -c 3000000 & yes b | head -c 3000000 >&2; wait; exit 3"] },
      { env: { HOLDFAST_FAILPOINT: failpoint } },
    );
    // One file for both, as in a log.
    await shim.create(id, place.bundle(id), { stdout: `file://${path}`, stderr: `file://${path}` });
    await shim.start(id);
    assert.equal((await shim.wait(id)).exitStatus, 3);
    await shim.delete(id);
    const text = readFileSync(path, "latin1");
    const counts = ["a", "b", "\n"].map((letter) => text.split(letter).length - 1);
    assert.deepEqual([text.length, ...counts], [6_000_000, 1_500_000, 1_500_000, 3_000_000]);
    // A pipe's bytes do not come by the shim's memory.
    assert.equal((await shim.dump()).deaths, failpoint === "relay:read" ? 0 : failpoint.split(",").length);
    await place.forget(shim, id);
  });
}

for (const [index, failpoint] of ["relay:read", "relay:moved", "relay:moved#3,relay:moved#2"].entries()) {
  test(`what a terminal prints to a file is never in the shim's memory alone: nothing is lost at ${failpoint}`, async () => {
    const id = `filed-terminal-${index}`;
    const path = join(place.directory, `${id}.log`);
    const shim = await place.shim(
      id,
      { args: ["sh", "-c", "stty -opost; seq 1 500000; exit 3"], terminal: true },
      { env: { HOLDFAST_FAILPOINT: failpoint } },
    );
    await shim.create(id, place.bundle(id), { stdout: `file://${path}`, terminal: true });
    await shim.start(id);
    assert.equal((await shim.wait(id)).exitStatus, 3);
    await shim.delete(id);
    const whole = Array.from({ length: 500_000 }, (_, n) => `${n + 1}\n`).join("");
    const text = readFileSync(path, "latin1");
    assert.ok(text === whole, `${text.length} bytes of ${whole.length}, or others`);
    assert.equal((await shim.dump()).deaths, failpoint === "relay:read" ? 0 : failpoint.split(",").length);
    await place.forget(shim, id);
  });
}

for (const failpoint of ["start:bound", "effect#1", "effect#2"]) {
  test(`a shim that is killed while it starts, at ${failpoint}, leaves nothing but the files of its bundle`, async () => {
    const id = `unborn-${failpoint.replace(/\W/, "-")}`;
    place.makeBundle(id, { args: ["true"] });
    await assert.rejects(place.start(id, { env: { HOLDFAST_FAILPOINT: failpoint } }), /"status":137/);
    await place.removeBundle(id);
    assert.equal(await place.leftovers(), "");
  });
}

test("every place that the code names is in one of these lists", () => {
  const root = join(import.meta.dirname, "../..");
  const sources = ["src/shim", "src/task", "src/runc", "src/events", "src/stdio", "src/platform", "native"];
  const named = new Set<string>();
  for (const directory of sources) {
    for (const file of readdirSync(join(root, directory)).filter((name) => /\.(ts|c)$/.test(name))) {
      const text = readFileSync(join(root, directory, file), "utf8");
      for (const [, name = ""] of text.matchAll(/\bfailpoint\(["`]([^"`$]+)["`]\)/g)) named.add(name);
    }
  }
  const listed = [...EVERYWHERE, ...ELSEWHERE]
    .flatMap((each) => each.split(","))
    .map((each) => each.split("#")[0]);
  const always = ["state", "effect"];
  assert.deepEqual(
    [...named].filter((name) => !listed.includes(name) && !always.includes(name)),
    [],
  );
  assert.ok(named.size > 10);
});

test("nothing is left behind", async () => {
  assert.equal(await place.leftovers(), "");
});
