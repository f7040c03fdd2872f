// A kubelet's verbs in a kubelet's order, through containerd's real CRI socket, on pods whose every process is under one shim of ours.
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually, rounds } from "../harness/eventually.ts";
import { mountsBelow } from "../harness/leftovers.ts";
import { isRunning, processesMentioning } from "../harness/processes.ts";
import { startNode } from "./node.ts";

const SLEEP = ["sleep", "1000000"];
const OBEYS = "trap 'exit 7' TERM; echo up; while true; do sleep 0.02; done";

const onNode = await startNode();

onNode(
  "a pod's containers and its pause container are under one shim, and see what they share",
  async (k) => {
    const pod = await k.pod("one-shim");
    const first = await k.run(pod, "first", ["sh", "-c", "hostname; exec sleep 1000000"]);
    const second = await k.run(pod, "second", SLEEP);
    const shims = await Promise.all([pod.id, first, second].map((id) => k.shimPid(id)));
    assert.equal(new Set(shims).size, 1);
    assert.match(readFileSync(`/proc/${shims[0]}/cmdline`, "utf8"), /containerd-shim-holdfast-v2/);
    assert.equal((await k.status(first)).state, "CONTAINER_RUNNING");
    await k.remove(pod);
    await eventually("the shim to end", () => !isRunning(shims[0] ?? 0));
  },
);

onNode("ExecSync tells output, errors and status apart, and ends a command at its time", async (k) => {
  const pod = await k.pod("execs");
  const id = await k.run(pod, "main", SLEEP);
  const script = "echo out; echo err >&2; exit 3";
  assert.deepEqual(await k.exec(id, ["sh", "-c", script]), { status: 3, stdout: "out\n", stderr: "err\n" });
  await assert.rejects(k.exec(id, SLEEP, 1), /timed? ?out|deadline/i);
  await assert.rejects(k.exec(id, ["no-such-program"]), /no-such-program/);
  assert.equal((await k.exec(id, ["true"])).status, 0);
  await k.remove(pod);
});

onNode("probes by exec go on and on, and leave nothing in the shim", async (k) => {
  const pod = await k.pod("probes");
  const id = await k.run(pod, "probed", SLEEP);
  const shim = await k.shimPid(id);
  const files = (): number => readdirSync(`/proc/${shim}/fd`).length;
  const before = files();
  for (let round = 0; round < rounds(60); round++) {
    const { status } = await k.exec(id, ["sh", "-c", `exit ${round % 2}`], 10);
    assert.equal(status, round % 2);
  }
  await eventually("the shim's files to be as before", () => files() === before);
  assert.deepEqual(
    processesMentioning(id).filter(({ commandLine }) => commandLine.includes("exec")),
    [],
  );
  await k.remove(pod);
});

onNode("the log has every line, and goes on in a new file when the kubelet has rotated it", async (k) => {
  const pod = await k.pod("logs");
  const script = "echo one; until [ -e /tmp/next ]; do sleep 0.02; done; echo two; exec sleep 1000000";
  const id = await k.run(pod, "logged", ["sh", "-c", script]);
  await eventually("the first line", () => k.log("logged").includes("one"));
  const path = join(k.logs, "logged.log");
  renameSync(path, `${path}.1`);
  await k.cri.call("ReopenContainerLog", { containerId: id });
  await k.exec(id, ["touch", "/tmp/next"]);
  await eventually("the second line in the new file", () => k.log("logged").includes("two"));
  assert.deepEqual(k.log("logged"), ["two"]);
  await k.remove(pod);
});

onNode("stats tell processor time and memory, and an update changes the limit", async (k) => {
  const pod = await k.pod("figures");
  const id = await k.run(pod, "measured", SLEEP, { resources: { memoryLimitInBytes: 64 * 2 ** 20 } });
  interface Figures {
    stats: {
      cpu?: { usageCoreNanoSeconds: { value: number } };
      memory?: { workingSetBytes: { value: number } };
    };
  }
  await eventually("figures", async () => {
    const { stats } = await k.cri.call<Figures>("ContainerStats", { containerId: id });
    return (stats.cpu?.usageCoreNanoSeconds.value ?? 0) > 0 && (stats.memory?.workingSetBytes.value ?? 0) > 0;
  });
  const linux = { memoryLimitInBytes: 128 * 2 ** 20 };
  await k.cri.call("UpdateContainerResources", { containerId: id, linux });
  const pid = await k.pidOf(id);
  assert.equal(memoryLimitOf(pid), 128 * 2 ** 20);
  await k.remove(pod);
});

/** The limit of the group that a process is in, version 1 or 2. */
function memoryLimitOf(pid: number): number {
  const lines = readFileSync(`/proc/${pid}/cgroup`, "utf8").trim().split("\n");
  const old = lines.find((line) => line.split(":")[1] === "memory");
  const group = (old ?? lines[0] ?? "").split(":").slice(2).join(":");
  const file =
    old === undefined
      ? `/sys/fs/cgroup${group}/memory.max`
      : `/sys/fs/cgroup/memory${group}/memory.limit_in_bytes`;
  return Number(readFileSync(file, "utf8"));
}

onNode("a container that eats more memory than it may is told as OOMKilled", async (k) => {
  const pod = await k.pod("hungry");
  const hog = ["sh", "-c", "x=a; while true; do x=$x$x; done"];
  const id = await k.run(pod, "hog", hog, { resources: { memoryLimitInBytes: 16 * 2 ** 20 } });
  const { exitCode, reason } = await k.exited(id);
  assert.deepEqual({ exitCode, reason }, { exitCode: 137, reason: "OOMKilled" });
  await k.remove(pod);
});

onNode(
  "a pod that is evicted for its memory ends at once, with its log and status still there, and no OOM is told",
  async (k) => {
    const pod = await k.pod("evicted");
    const neighbour = await k.pod("neighbour");
    const stays = await k.run(neighbour, "stays", SLEEP);
    const grows =
      "x=$(head -c 24000000 /dev/zero | tr '\\0' x); echo grown; trap '' TERM; while true; do sleep 0.1; done";
    const id = await k.run(pod, "grows", ["sh", "-c", grows]);
    await k.run(pod, "sidecar", SLEEP);
    interface Figures {
      stats: { attributes: { id: string }; memory?: { workingSetBytes: { value: number } } }[];
    }
    await eventually("it to have grown", () => k.log("grows").includes("grown"));
    await eventually("the node's figures to show it", async () => {
      const { stats } = await k.cri.call<Figures>("ListContainerStats", {});
      const most = stats.find((each) => Number(each.memory?.workingSetBytes.value ?? 0) > 20_000_000);
      return most?.attributes.id === id;
    });
    // A hard eviction leaves no time to obey.
    await k.stop(id, 0);
    await k.cri.call("StopPodSandbox", { podSandboxId: pod.id });
    const { exitCode, reason } = await k.status(id);
    assert.deepEqual({ exitCode, reason }, { exitCode: 137, reason: "Error" });
    assert.deepEqual(k.log("grows"), ["grown"]);
    assert.equal((await k.exec(stays, ["true"])).status, 0);
    await k.remove(pod);
    await k.remove(neighbour);
  },
);

onNode("a graceful stop is waited for; one that does not obey is killed", async (k) => {
  const pod = await k.pod("stops");
  const obeys = await k.run(pod, "obeys", ["sh", "-c", OBEYS]);
  const deaf = await k.run(pod, "deaf", [
    "sh",
    "-c",
    "trap '' TERM; echo up; while true; do sleep 0.02; done",
  ]);
  for (const name of ["obeys", "deaf"]) await eventually("its trap", () => k.log(name).includes("up"));
  await k.exec(obeys, ["sh", "-c", "echo hook >/proc/1/fd/1"]); // a preStop hook is an exec
  await k.stop(obeys, 60);
  assert.equal((await k.status(obeys)).exitCode, 7);
  // containerd may still be writing what the container has said last.
  await eventually("the hook's word", () => k.log("obeys").length > 1);
  assert.deepEqual(k.log("obeys"), ["up", "hook"]);
  await k.stop(deaf, 1);
  assert.equal((await k.status(deaf)).exitCode, 137);
  await k.remove(pod);
});

onNode(
  "a container that ends is started anew beside it, again and again, as by a kubelet's back-off",
  async (k) => {
    const pod = await k.pod("again");
    for (let attempt = 0; attempt < rounds(5); attempt++) {
      const config = { metadata: { name: "crashes", attempt }, logPath: `crashes-${attempt}.log` };
      const id = await k.run(pod, "crashes", ["sh", "-c", `echo run ${attempt}; exit 9`], { config });
      const { exitCode, reason } = await k.exited(id);
      assert.deepEqual({ exitCode, reason }, { exitCode: 9, reason: "Error" });
      await eventually("its word", () => k.log(`crashes-${attempt}`).length > 0);
      assert.deepEqual(k.log(`crashes-${attempt}`), [`run ${attempt}`]);
      await k.cri.call("RemoveContainer", { containerId: id });
    }
    await k.remove(pod);
  },
);

onNode(
  "a command that is not there fails at its start with the runtime's words, and can be removed",
  async (k) => {
    const pod = await k.pod("absent");
    const id = await k.create(pod, "absent", ["no-such-program"]);
    await assert.rejects(
      k.cri.call("StartContainer", { containerId: id }),
      /no-such-program.*executable file not found in \$PATH/,
    );
    assert.equal((await k.status(id)).state, "CONTAINER_EXITED");
    await k.cri.call("RemoveContainer", { containerId: id });
    await k.remove(pod);
  },
);

onNode("seccomp, no new privileges, a read-only root and another user hold", async (k) => {
  const pod = await k.pod("confined");
  const security = {
    seccomp: { profileType: 0 },
    noNewPrivs: true,
    readonlyRootfs: true,
    runAsUser: { value: 1234 },
  };
  const id = await k.run(pod, "confined", SLEEP, { security });
  const { stdout } = await k.exec(id, [
    "sh",
    "-c",
    "id -u; touch /file 2>&1; grep -E 'Seccomp:|NoNewPrivs' /proc/1/status",
  ]);
  assert.match(stdout, /^1234\n.*Read-only file system\nNoNewPrivs:\s+1\nSeccomp:\s+2\n$/);
  await k.remove(pod);
});

onNode("a volume of the host is mounted", async (k) => {
  const volume = join(k.daemon.directory, "volume");
  mkdirSync(volume);
  writeFileSync(join(volume, "file"), "text");
  const pod = await k.pod("volumes");
  const mounts = [{ containerPath: "/data", hostPath: volume, readonly: true }];
  const id = await k.run(pod, "mounted", SLEEP, { config: { mounts } });
  assert.equal((await k.exec(id, ["cat", "/data/file"])).stdout, "text");
  assert.notEqual((await k.exec(id, ["touch", "/data/other"])).status, 0);
  await k.remove(pod);
});

onNode("containers on the node's pid namespace leave no process when they end", async (k) => {
  const pod = await k.pod("node-pid", { namespaces: { network: "NODE", pid: "NODE", ipc: "POD" } });
  const id = await k.run(pod, "leaves", ["sh", "-c", "sleep 987654 & sleep 987654 & exit 4"]);
  assert.equal((await k.exited(id)).exitCode, 4);
  await eventually("its children to end", () => processesMentioning("987654").length === 0);
  await k.remove(pod);
});

onNode("nothing is left behind", async (k) => {
  await eventually("all shims to go", () =>
    processesMentioning(k.daemon.address).every(
      ({ commandLine }) => !commandLine.includes("containerd-shim"),
    ),
  );
  assert.deepEqual(mountsBelow(join(k.daemon.directory, "state")), []);
});
