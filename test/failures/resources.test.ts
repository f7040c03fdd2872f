// What other shims used up over time: descriptors, log files, inotify instances, zombies, and the OOM score. Numbers are issues of
// containerd/containerd unless named.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Code } from "../../src/ttrpc/status.ts";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { makeFifo } from "../harness/fifo.ts";
import { allPids, oomScoreOf, openFiles, processInfo } from "../harness/processes.ts";
import { failsOnGoShim } from "../harness/runtime.ts";
import { refusal, ShimClient } from "../harness/shim-client.ts";
import { times } from "./size.ts";

const place = await Playground.create();
after(() => place.close());

async function running(id: string, spec: Parameters<Playground["shim"]>[1]): Promise<ShimClient> {
  const shim = await place.shim(id, spec);
  await shim.create(id, place.bundle(id));
  await shim.start(id);
  return shim;
}

async function end(shim: ShimClient, id: string): Promise<void> {
  await place.endContainer(shim, id);
  await place.forget(shim, id);
}

test("containers with a terminal, one after the other in one pod's shim, leave no descriptor (11160)", async () => {
  const annotations = { "io.kubernetes.cri.sandbox-id": "pod" };
  place.noteGroup("pod");
  const shim = await place.shim("pod", { args: ["sleep", "100000"], annotations });
  await shim.create("pod", place.bundle("pod"));
  await shim.start("pod");
  const { shimPid } = await shim.connect("pod");
  const before = openFiles(shimPid).length;
  for (let index = 0; index < times(40, 1000); index++) {
    const id = `tty-${index}`;
    place.makeBundle(id, { args: ["true"], terminal: true, annotations });
    assert.equal(await place.start(id), await place.start("pod"));
    const stdout = makeFifo(join(place.bundle(id), "out"));
    await shim.create(id, place.bundle(id), { terminal: true, stdout });
    await shim.start(id);
    await shim.wait(id);
    await shim.delete(id);
    await place.removeBundle(id);
  }
  await eventually(
    "the descriptors of ended containers to be closed",
    () => openFiles(shimPid).length <= before,
  );
  await end(shim, "pod");
});

test("failing execs do not fill the bundle (8972)", async () => {
  const shim = await running("failing", { args: ["sleep", "100000"] });
  for (let index = 0; index < times(150, 10_000); index++) {
    await shim.exec("failing", `e${index}`, ["/no/such/program"]);
    await refusal(Code.UNKNOWN, shim.start("failing", `e${index}`));
    await shim.delete("failing", `e${index}`);
  }
  const files = readdirSync(place.bundle("failing")).map((name) => join(place.bundle("failing"), name));
  const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0);
  assert.ok(bytes < 256 << 10, `${bytes} bytes in ${files.join(" ")}`);
  assert.deepEqual(
    readdirSync(place.bundle("failing")).filter((name) => name.startsWith("exec-")),
    [],
  );
  await end(shim, "failing");
});

test("a shim uses no inotify instance, of which a user has 128 (5670, 10468)", async () => {
  const shim = await running("watched", { args: ["sleep", "100000"], memoryLimitBytes: 64 << 20 });
  const { shimPid } = await shim.connect("watched");
  assert.deepEqual(
    openFiles(shimPid).filter((kind) => kind.includes("inotify")),
    [],
  );
  await end(shim, "watched");
});

test("children that a container in the host's pid namespace orphans are reaped (5708, 9979)", async () => {
  const count = times(300, 1000);
  const orphan = `i=0; while [ $i -lt ${count} ]; do (true & true &) ; i=$((i+1)); done; echo done >/tmp/orphaned; sleep 100000`;
  const shim = await running("orphans", { args: ["sh", "-c", orphan], hostPid: true });
  const { shimPid } = await shim.connect("orphans");
  await eventually(
    "all orphans to be made",
    () => {
      try {
        return readFileSync(join(place.rootfs, "tmp/orphaned"), "utf8") !== "";
      } catch {
        return false;
      }
    },
    60_000,
  );
  const zombies = (): number[] =>
    allPids().filter((pid) => {
      const process = processInfo(pid);
      return process?.parent === shimPid && process.state === "Z";
    });
  await eventually("no zombie to be left", () => zombies().length === 0);
  assert.equal((await shim.state("orphans")).pid > 0, true);
  await end(shim, "orphans");
});

test("the shim's OOM score is above its daemon's, and neither runc nor the container inherits either (3380)", {
  skip: failsOnGoShim("runc, and a container whose spec has no score, inherit the shim's"),
}, async () => {
  const daemons = oomScoreOf(process.pid);
  const runc = join(place.directory, "scored-runc");
  writeFileSync(runc, `#!/bin/sh\ncat /proc/self/oom_score_adj >>${runc}.scores\nexec runc "$@"\n`, {
    mode: 0o755,
  });
  const shim = await place.shim("scores", { args: ["sleep", "100000"] });
  await shim.create("scores", place.bundle("scores"), { options: { binaryName: runc } });
  const pid = await shim.start("scores");
  const { shimPid } = await shim.connect("scores");
  assert.equal(oomScoreOf(shimPid), Math.min(daemons + 1, 1000));
  assert.equal(oomScoreOf(pid), 0);
  const scores = readFileSync(`${runc}.scores`, "utf8").trim().split("\n");
  assert.deepEqual(new Set(scores), new Set(["0"]));
  await end(shim, "scores");
});

test("a container can be killed when its shim has no descriptor left to run anything, and its end is told", {
  skip: failsOnGoShim("it cannot run its runtime"),
}, async () => {
  place.makeBundle("full", { args: ["sleep", "100000"] });
  const address = await place.start("full", { wrapper: ["prlimit", "--nofile=40:40"] });
  const shim = await ShimClient.connect(address);
  await shim.create("full", place.bundle("full"));
  await shim.start("full");
  const others: ShimClient[] = [];
  const { shimPid } = await shim.connect("full");
  // Connections take what is left; the one more that is not taken waits in the backlog.
  await eventually("the shim to be full", async () => {
    others.push(await ShimClient.connect(address));
    return openFiles(shimPid).length === 40;
  });
  await shim.kill("full", 9);
  assert.equal((await shim.wait("full")).exitStatus, 137);
  for (const other of others) other.close();
  await eventually("the connections to be gone", () => openFiles(shimPid).length < 30);
  await shim.delete("full");
  await place.forget(shim, "full");
});

test("nothing is left behind", async () => {
  assert.equal(await place.leftovers(), "");
});
