// SystemdCgroup = true with a real systemd as the first process: pods through containerd's CRI, each container a scope of systemd's.
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { BY_NAME } from "../cri/config.ts";
import type { Kubelet, Pod } from "../cri/kubelet.ts";
import { startNode } from "../cri/node.ts";
import { check } from "../harness/command.ts";
import { eventually } from "../harness/eventually.ts";
import { noSystemdHost } from "./needs.ts";

const SLEEP = ["sleep", "1000000"];
const SLICE = "holdfast.slice";
const handler = { ...BY_NAME, options: { SystemdCgroup: true } };
const onNode = await startNode({ handlers: { holdfast: handler } }, {}, noSystemdHost);

onNode("each container is a scope in the pod's slice, and goes with it", async (k) => {
  const pod = await k.pod("scopes", { cgroupParent: SLICE });
  const id = await k.run(pod, "main", SLEEP, { resources: { memoryLimitInBytes: 64 * 2 ** 20 } });
  const group = readFileSync(`/proc/${await k.pidOf(id)}/cgroup`, "utf8")
    .trim()
    .replace("0::", "");
  assert.equal(group, `/${SLICE}/cri-containerd-${id}.scope`);
  const state = ["systemctl", "show", "--value", "--property=ActiveState", `cri-containerd-${id}.scope`];
  assert.equal((await check(state)).trim(), "active");
  assert.equal(readFileSync(`/sys/fs/cgroup${group}/memory.max`, "utf8").trim(), String(64 * 2 ** 20));
  const linux = { memoryLimitInBytes: 96 * 2 ** 20 };
  await k.cri.call("UpdateContainerResources", { containerId: id, linux });
  assert.equal(readFileSync(`/sys/fs/cgroup${group}/memory.max`, "utf8").trim(), String(96 * 2 ** 20));
  assert.equal((await k.exec(id, ["sh", "-c", "exit 3"])).status, 3);
  await k.remove(pod);
  await eventually("the scope to go", () => !existsSync(`/sys/fs/cgroup${group}`));
});

onNode("stats and OOM of a container in a scope", async (k) => {
  const pod = await k.pod("figures", { cgroupParent: SLICE });
  const hog = ["sh", "-c", "x=a; while true; do x=$x$x; done"];
  const id = await k.run(pod, "measured", SLEEP);
  interface Figures {
    stats: { memory?: { workingSetBytes?: { value: number } } };
  }
  await eventually("figures", async () => {
    const { stats } = await k.cri.call<Figures>("ContainerStats", { containerId: id });
    return (stats.memory?.workingSetBytes?.value ?? 0) > 0;
  });
  const eats = await k.run(pod, "hog", hog, { resources: { memoryLimitInBytes: 16 * 2 ** 20 } });
  const { exitCode, reason } = await k.exited(eats);
  assert.deepEqual({ exitCode, reason }, { exitCode: 137, reason: "OOMKilled" });
  await k.remove(pod);
});

/** Grows when it is let, until the kernel kills it. */
const HUNGRY = ["sh", "-c", "until [ -e /hungry ]; do sleep 0.1; done; x=a; while true; do x=$x$x; done"];

function feed(pid: number): void {
  writeFileSync(`/proc/${pid}/root/hungry`, "");
}

/** How a container of this memory limit is told to have ended whose shim sleeps from `act` on until systemd has removed the scope; `then` wakes it. */
async function endedUnseen(
  k: Kubelet,
  pod: Pod,
  act: (pid: number) => void,
  then: NodeJS.Signals = "SIGCONT",
): Promise<{ exitCode: number; reason: string }> {
  const id = await k.run(pod, `unseen-${then}`, HUNGRY, { resources: { memoryLimitInBytes: 16 * 2 ** 20 } });
  const pid = await k.pidOf(id);
  const shim = await k.shimPid(id);
  const scope = `/sys/fs/cgroup/${SLICE}/cri-containerd-${id}.scope`;
  assert.ok(existsSync(scope));
  process.kill(shim, "SIGSTOP");
  try {
    act(pid);
    await eventually("the scope to go", () => !existsSync(scope));
  } finally {
    process.kill(shim, then);
  }
  const { exitCode, reason } = await k.exited(id);
  await k.cri.call("RemoveContainer", { containerId: id });
  return { exitCode, reason };
}

onNode(
  "an OOM is told though systemd has removed the scope, and its counter, before the shim could look",
  async (k) => {
    const pod = await k.pod("late", { cgroupParent: SLICE });
    assert.deepEqual(await endedUnseen(k, pod, feed), { exitCode: 137, reason: "OOMKilled" });
    // The next shim finds it, if this one is killed before it has looked.
    assert.deepEqual(await endedUnseen(k, pod, feed, "SIGKILL"), { exitCode: 137, reason: "OOMKilled" });
    // Others have been killed in this slice, but not this one.
    const killed = await endedUnseen(k, pod, (pid) => process.kill(pid, "SIGKILL"));
    assert.deepEqual(killed, { exitCode: 137, reason: "Error" });
    await k.remove(pod);
  },
);

onNode("containerd is killed and restarted: the pod runs on in its scope", async (k) => {
  const pod = await k.pod("stays", { cgroupParent: SLICE });
  const id = await k.run(pod, "main", SLEEP);
  const pid = await k.pidOf(id);
  await k.daemon.kill();
  await k.launch();
  assert.equal(await k.pidOf(id), pid);
  assert.equal((await k.exec(id, ["true"])).status, 0);
  await k.remove(pod);
});
