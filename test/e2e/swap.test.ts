// The shim's binary is replaced under running containers: Go's by ours, and ours by Go's. What one has started, the other must be able to clean up, and
// the daemon must not notice.
import assert from "node:assert/strict";
import { readdirSync, readlinkSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, test } from "node:test";
import { Daemon } from "../harness/daemon.ts";
import { exitStatusOf } from "../harness/events.ts";
import { eventually } from "../harness/eventually.ts";
import { killForGood } from "../harness/keeper.ts";
import { shimSocket } from "../harness/leftovers.ts";
import { isRunning } from "../harness/processes.ts";
import { GO_RUNTIME, isHoldfastd, OUR_RUNTIME, shimBinary } from "../harness/runtime.ts";

function binaryOf(runtime: string): string | undefined {
  try {
    return shimBinary(runtime);
  } catch {
    return undefined;
  }
}

const go = binaryOf(GO_RUNTIME);
const ours = shimBinary(OUR_RUNTIME);
const skip = isHoldfastd
  ? "containerd's own shim is tried behind containerd"
  : go === undefined
    ? "containerd's own shim is not installed"
    : false;

const SLEEP = ["sleep", "1000000"];
const OBEYS = ["sh", "-c", "trap 'exit 23' TERM; while true; do sleep 0.02; done"];
const GROUP = ["--annotation", "io.containerd.runc.v2.group=mixed"];

for (const [before, next, title] of [
  [go, ours, "Go's shim is replaced by ours"],
  [ours, go, "ours is replaced by Go's"],
] as const) {
  describe(title, { skip }, () => {
    let daemon: Daemon;

    test("what runs goes on under the shim that started it; what starts gets the new one", async () => {
      daemon = await Daemon.start({ runtime: GO_RUNTIME, shim: before ?? "" });
      await daemon.ctr.start("goes-on", OBEYS);
      await daemon.ctr.start("is-killed", SLEEP, { flags: ["--runc-root", join(daemon.directory, "runc")] });
      await daemon.ctr.start("in-group", SLEEP, { flags: GROUP });
      daemon.replaceShim(next ?? "");
      await daemon.ctr.start("is-new", SLEEP);
      const program = async (id: string): Promise<string> =>
        basename(readlinkSync(`/proc/${await daemon.shimPid(id)}/exe`));
      assert.equal(await program("goes-on"), basename(before ?? ""));
      assert.equal(await program("is-new"), basename(next ?? ""));
      await daemon.ctr.remove("is-new");
      assert.equal((await daemon.ctr.exec("goes-on", "e", ["sh", "-c", "exit 8"])).status, 8);
    });

    test("the daemon is killed and restarted: it has them all", async () => {
      await daemon.crashAndRestart();
      for (const id of ["goes-on", "is-killed", "in-group"]) {
        assert.equal((await daemon.ctr.task(id)).status, "RUNNING");
      }
      assert.equal((await daemon.ctr.exec("goes-on", "after", ["sh", "-c", "exit 9"])).status, 9);
    });

    test("the new binary finds the old one's shim of a group, and its container joins it", async () => {
      await daemon.ctr.start("joins", SLEEP, { flags: GROUP });
      assert.equal(await daemon.shimPid("joins"), await daemon.shimPid("in-group"));
      for (const id of ["joins", "in-group"]) await daemon.ctr.remove(id);
    });

    test("the old shim is killed: the new binary cleans its container up", async () => {
      const events = await daemon.events();
      const { pid } = await daemon.ctr.task("is-killed");
      killForGood(await daemon.shimPid("is-killed"));
      assert.equal(exitStatusOf(await events.exitOf("is-killed")), 137);
      await eventually("its process to end", () => !isRunning(pid));
      assert.deepEqual(readdirSync(join(daemon.directory, "runc", daemon.namespace)), []);
      await daemon.ctr.try(["tasks", "delete", "is-killed"]);
      await daemon.ctr.do(["containers", "delete", "is-killed"]);
      await daemon.ctr.kill("goes-on", "SIGTERM");
      assert.equal(exitStatusOf(await events.exitOf("goes-on")), 23);
      await daemon.ctr.delete("goes-on");
    });

    test("nothing is left behind", async () => {
      try {
        // Go's delete leaves the socket of a shim that was killed.
        if (next === go) rmSync(shimSocket(daemon.address, daemon.namespace, "is-killed"), { force: true });
        assert.equal(await daemon.leftovers(), "");
      } finally {
        await daemon.close();
      }
    });
  });
}
