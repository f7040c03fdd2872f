// What a node lives through: containerd restarted in the middle of things, a pod's shim killed, the machine rebooted.
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { run } from "../harness/command.ts";
import { exitStatusOf } from "../harness/events.ts";
import { eventually } from "../harness/eventually.ts";
import { killForGood } from "../harness/keeper.ts";
import { mountsBelow } from "../harness/leftovers.ts";
import { isRunning } from "../harness/processes.ts";
import type { Kubelet, Pod } from "./kubelet.ts";
import { startNode } from "./node.ts";

const SLEEP = ["sleep", "1000000"];
const onNode = await startNode();

async function podState(k: Kubelet, pod: Pod): Promise<string> {
  const request = { podSandboxId: pod.id, verbose: false };
  return (await k.cri.call<{ status: { state: string } }>("PodSandboxStatus", request)).status.state;
}

onNode("containerd is killed and restarted: pods run on, take probes, and their logs go on", async (k) => {
  const pod = await k.pod("stays");
  const script = "echo one; until [ -e /tmp/next ]; do sleep 0.02; done; echo two; exec sleep 1000000";
  const id = await k.run(pod, "main", ["sh", "-c", script]);
  await eventually("the first line", () => k.log("main").includes("one"));
  const pids = [await k.pidOf(pod.id), await k.pidOf(id), await k.shimPid(id)];
  await k.daemon.kill();
  await k.launch();
  assert.deepEqual([await k.pidOf(pod.id), await k.pidOf(id), await k.shimPid(id)], pids);
  assert.equal(await podState(k, pod), "SANDBOX_READY");
  assert.equal((await k.exec(id, ["touch", "/tmp/next"])).status, 0);
  await eventually("the second line", () => k.log("main").includes("two"));
  const other = await k.run(pod, "other", SLEEP);
  assert.equal(await k.shimPid(other), pids[2]);
  await k.remove(pod);
  await eventually("the shim to end", () => !isRunning(pids[2] ?? 0));
});

onNode(
  "what ends while containerd is away has its exit code when it is back, and its last line",
  async (k) => {
    const pod = await k.pod("away");
    const id = await k.run(pod, "ends", [
      "sh",
      "-c",
      "until [ -e /tmp/go ]; do sleep 0.02; done; echo last; exit 11",
    ]);
    const pid = await k.pidOf(id);
    await k.daemon.kill();
    await run(["touch", `/proc/${pid}/root/tmp/go`]);
    await eventually("it to end", () => !isRunning(pid));
    await k.launch();
    assert.equal((await k.exited(id)).exitCode, 11);
    await eventually("its last line", () => k.log("ends").includes("last"));
    await k.remove(pod);
  },
);

onNode("a pod's shim is killed, its keeper is not: none of its three containers notices", async (k) => {
  const pod = await k.pod("kept");
  const echo = ["sh", "-c", "until [ -e /tmp/next ]; do sleep 0.02; done; echo after; exec sleep 1000000"];
  const ids = [
    await k.run(pod, "one", SLEEP),
    await k.run(pod, "two", echo),
    await k.run(pod, "three", SLEEP),
  ];
  const pids = await Promise.all([pod.id, ...ids].map((id) => k.pidOf(id)));
  const shim = await k.shimPid(pod.id);
  process.kill(shim, "SIGKILL");
  await eventually("another shim", () => !isRunning(shim));
  for (const id of ids) assert.equal((await k.exec(id, ["touch", "/tmp/next"])).status, 0);
  await eventually("the line after", () => k.log("two").includes("after"));
  assert.equal(await podState(k, pod), "SANDBOX_READY");
  for (const id of ids) assert.equal((await k.status(id)).state, "CONTAINER_RUNNING");
  assert.deepEqual(await Promise.all([pod.id, ...ids].map((id) => k.pidOf(id))), pids);
  await k.remove(pod);
  await eventually("every process of the pod to end", () => !pids.some((pid) => isRunning(pid)));
});

onNode(
  "a pod's shim is killed for good: no process stays, each container's exit is told, the pod can be removed",
  async (k) => {
    const events = await k.daemon.events();
    const pod = await k.pod("orphans");
    const ids = [await k.run(pod, "one", SLEEP), await k.run(pod, "two", SLEEP)];
    const pids = await Promise.all([pod.id, ...ids].map((id) => k.pidOf(id)));
    killForGood(await k.shimPid(pod.id));
    await eventually("every process of the pod to end", () => !pids.some((pid) => isRunning(pid)));
    for (const id of [pod.id, ...ids]) assert.equal(exitStatusOf(await events.exitOf(id)), 137);
    // 255 is what containerd makes of a Wait that was cut off, if it hears of that before it hears of the exit.
    for (const id of ids) assert.match(String((await k.exited(id)).exitCode), /^(137|255)$/);
    await eventually("the pod not to be ready", async () => (await podState(k, pod)) === "SANDBOX_NOTREADY");
    await k.remove(pod);
  },
);

onNode(
  "the machine is rebooted: the pod is there as not ready, is removed, and a new one starts",
  async (k) => {
    const pod = await k.pod("reboot");
    const id = await k.run(pod, "main", SLEEP);
    const shim = await k.shimPid(id);
    const pids = [await k.pidOf(id), await k.pidOf(pod.id)];
    await k.daemon.kill();
    killForGood(shim);
    for (const pid of pids) process.kill(pid, "SIGKILL");
    await eventually("all to end", () => ![shim, ...pids].some((pid) => isRunning(pid)));
    // What is on a tmpfs is gone, and so are the mounts; the root directory is as it was.
    for (const path of mountsBelow(k.daemon.directory)) await run(["umount", "--lazy", path]);
    rmSync(join(k.daemon.directory, "state"), { recursive: true });
    for (const each of [id, pod.id])
      rmSync(`/run/containerd/runc/k8s.io/${each}`, { recursive: true, force: true });
    await k.launch();
    assert.equal(await podState(k, pod), "SANDBOX_NOTREADY");
    assert.notEqual((await k.status(id)).state, "CONTAINER_RUNNING");
    await k.remove(pod);
    const next = await k.pod("reboot");
    const again = await k.run(next, "main", SLEEP);
    assert.equal((await k.exec(again, ["true"])).status, 0);
    await k.remove(next);
  },
);

onNode("nothing is left behind", async (k) => {
  assert.deepEqual(mountsBelow(join(k.daemon.directory, "state")), []);
});
