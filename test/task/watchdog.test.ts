// What a shim does about a container that nobody will ask for again, on a clock that is turned by hand.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Log } from "../../src/log/log.ts";
import type { Platform } from "../../src/platform/platform.ts";
import type { State } from "../../src/task/lifecycle.ts";
import { Watchdog } from "../../src/task/watchdog.ts";
import { ManualClock } from "../ttrpc/memory.ts";

const LIVING = 60_000;
const ENDED = 20_000;

class Scene {
  readonly clock = new ManualClock();
  readonly did: string[] = [];
  state: State;
  hasBundle = true;
  hasDaemon = false;
  isUndeletable = false;
  /** What a look will find. */
  overlooked: number[] = [];
  end: () => void = () => {};
  readonly watchdog: Watchdog;

  constructor(state: State) {
    this.state = state;
    const scene = this;
    const files = { stat: () => (this.hasBundle ? { kind: "directory" } : null) };
    const note = (message: string) => this.did.push(message);
    const log = { warning: note, error: note };
    const ended = new Promise<void>((resolve) => {
      this.end = resolve;
    });
    this.watchdog = new Watchdog(
      { platform: { clock: this.clock, files } as unknown as Platform, log: log as unknown as Log },
      {
        id: "c",
        bundle: "/gone",
        get state() {
          return scene.state;
        },
        ended,
        async kill() {
          scene.did.push("kill");
        },
        async delete() {
          scene.did.push("delete");
          if (scene.isUndeletable) throw new Error("the runtime refuses");
        },
      },
      {
        findOverlooked: () => this.overlooked.splice(0),
        daemonAnswers: () => this.hasDaemon,
        deleted: () => this.did.push("deleted"),
      },
    );
  }

  async turn(ms: number): Promise<void> {
    this.clock.advance(ms);
    await new Promise((next) => setImmediate(next));
  }
}

test("a container whose bundle is there is left alone, whatever it is and however long it takes", async () => {
  for (const state of ["created", "running", "paused", "stopped"] as const) {
    const scene = new Scene(state);
    for (let n = 0; n < 100; n++) await scene.turn(LIVING);
    assert.deepEqual(scene.did, []);
  }
});

test("an ended container goes soon after its bundle, also if its daemon is there", async () => {
  const scene = new Scene("running");
  scene.hasDaemon = true;
  await scene.turn(LIVING - 1);
  scene.state = "stopped";
  scene.hasBundle = false;
  scene.end();
  await scene.turn(0);
  await scene.turn(ENDED - 1);
  assert.deepEqual(scene.did, []);
  await scene.turn(1);
  assert.deepEqual(scene.did, ["bundle is gone: deleting its container", "delete", "deleted"]);
});

test("what cannot be deleted is let go all the same, with a word", async () => {
  const scene = new Scene("stopped");
  scene.hasBundle = false;
  scene.isUndeletable = true;
  await scene.turn(ENDED);
  assert.deepEqual(scene.did, [
    "bundle is gone: deleting its container",
    "delete",
    "failed to end an abandoned container",
    "deleted",
  ]);
});

test("a container that was never started goes when its bundle has been missed twice", async () => {
  const scene = new Scene("created");
  scene.hasBundle = false;
  scene.hasDaemon = true;
  await scene.turn(LIVING);
  assert.deepEqual(scene.did, ["bundle is gone, its container is not"]);
  await scene.turn(LIVING);
  assert.deepEqual(scene.did.slice(1), ["bundle is gone: deleting its container", "delete", "deleted"]);
});

test("a bundle that is back in time is as good as one that never went", async () => {
  const scene = new Scene("created");
  for (let n = 0; n < 10; n++) {
    scene.hasBundle = n % 2 === 0;
    await scene.turn(LIVING);
  }
  assert.ok(scene.did.every((what) => what === "bundle is gone, its container is not"));
});

for (const state of ["running", "paused"] as const) {
  test(`one that is ${state} is killed when bundle and daemon are gone for long, and deleted then`, async () => {
    const scene = new Scene(state);
    scene.hasBundle = false;
    await scene.turn(LIVING);
    await scene.turn(LIVING);
    assert.deepEqual(scene.did, ["bundle is gone, its container is not"]);
    await scene.turn(LIVING);
    assert.deepEqual(scene.did.slice(1), ["bundle and daemon are gone: killing the container", "kill"]);
    scene.state = "stopped";
    scene.end();
    await scene.turn(0);
    await scene.turn(ENDED);
    assert.deepEqual(scene.did.slice(3), ["bundle is gone: deleting its container", "delete", "deleted"]);
  });
}

test("one that runs is not killed as long as there is a daemon, which may know better", async () => {
  const scene = new Scene("running");
  scene.hasBundle = false;
  scene.hasDaemon = true;
  for (let n = 0; n < 20; n++) await scene.turn(LIVING);
  assert.deepEqual(scene.did, ["bundle is gone, its container is not"]);
});

test("a container that is gone is not held by its watch", async () => {
  const scene = new Scene("stopped");
  scene.watchdog.stop();
  scene.hasBundle = false;
  scene.end();
  for (let n = 0; n < 5; n++) await scene.turn(LIVING);
  assert.deepEqual(scene.did, []);
});

test("an exit that nobody was told of is looked for at every look, and reported", async () => {
  const scene = new Scene("running");
  await scene.turn(LIVING);
  assert.deepEqual(scene.did, []);
  scene.overlooked = [42];
  await scene.turn(LIVING);
  await scene.turn(LIVING);
  assert.deepEqual(scene.did, ["a process has ended, and nobody had said so: its exit is published now"]);
});
