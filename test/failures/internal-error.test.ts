// An error inside the shim that nobody expected: its text survives, and so do the containers (containerd issue 4274).
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Playground } from "../harness/direct-shim.ts";
import { eventually, patience } from "../harness/eventually.ts";
import { killForGood } from "../harness/keeper.ts";
import { isRunning } from "../harness/processes.ts";
import { failsOnGoShim } from "../harness/runtime.ts";

const place = await Playground.create();
after(() => place.close());

test("an internal error ends no container, and its text survives the shim and is handed to the daemon (4274)", {
  skip: failsOnGoShim("the text goes to a fifo that nobody reads"),
}, async () => {
  const env = { HOLDFAST_FAILPOINT: "dump=throw" };
  const shim = await place.shim("pod", { args: ["sleep", "100000"] }, { env });
  await shim.create("pod", place.bundle("pod"));
  await shim.start("pod");
  const { shimPid } = await shim.connect("pod");

  process.kill(shimPid, "SIGUSR1");
  const crash = join(place.bundle("pod"), "holdfast.crash");
  await eventually("the internal error", () => existsSync(crash), patience(60_000));

  assert.match(readFileSync(crash, "utf8"), /a test's failpoint/);
  await shim.exec("pod", "after", ["sh", "-c", "exit 9"]);
  await shim.start("pod", "after");
  assert.equal((await shim.wait("pod", "after")).exitStatus, 9);

  killForGood(shimPid);
  await eventually("the shim to end", () => !isRunning(shimPid));
  const { status, stderr } = await place.delete("pod");
  assert.equal(status, 0);
  assert.match(stderr, /the shim had an internal error: .*a test's failpoint[\s\S]*\n +at /);
  shim.close();
  await place.removeBundle("pod");
});

test("nothing is left behind", async () => {
  assert.equal(await place.leftovers(), "");
});
