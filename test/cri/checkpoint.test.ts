// A kubelet's checkpoint of a container, which containerd makes of the shim's.
import assert from "node:assert/strict";
import { join } from "node:path";
import { check } from "../harness/command.ts";
import { criuPath } from "../harness/criu-runtime.ts";
import { containerdVersion } from "../harness/runtime.ts";
import { startNode } from "./node.ts";

const onNode = await startNode();

onNode(
  "CheckpointContainer makes an archive with the container's processes, and the container goes on",
  async (k) => {
    const pod = await k.pod("checkpoints");
    // A call that criu has interrupted ends with EINTR: busybox's sleep would be at its end.
    const id = await k.run(pod, "main", ["sh", "-c", "while true; do sleep 0.1; done"]);
    const location = join(k.logs, "checkpoint.tar");
    await k.cri.call("CheckpointContainer", { containerId: id, location });
    const names = await check(["tar", "-tf", location]);
    assert.match(names, /checkpoint\/pages-1\.img/);
    assert.equal((await k.status(id)).state, "CONTAINER_RUNNING");
    assert.equal((await k.exec(id, ["true"])).status, 0);
    await k.remove(pod);
  },
  containerdVersion < 2
    ? "containerd has it since 2.0"
    : criuPath === undefined
      ? "there is no criu on this host"
      : false,
);
