// Pods with a network of their own, by CNI plugins from Debian, on a node that has a network namespace for itself; and pods with user namespaces.
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../harness/eventually.ts";
import type { Kubelet, Pod } from "./kubelet.ts";
import { noCni, noUserNamespaces } from "./needs.ts";
import { startNode } from "./node.ts";

const SLEEP = ["sleep", "1000000"];
const OWN = { network: "POD", pid: "CONTAINER", ipc: "POD" };
const alone = ["unshare", "--net", "sh", "-c", 'busybox ip link set lo up && exec "$@"', "sh"];
const onNode = await startNode({}, { within: alone }, noCni);

/** A veth pair for each pod, and addresses from a range. */
function configureNetwork(k: Kubelet): void {
  const directory = join(k.daemon.directory, "cni");
  mkdirSync(directory, { recursive: true });
  const ipam = {
    type: "host-local",
    subnet: "10.88.7.0/24",
    routes: [{ dst: "0.0.0.0/0" }],
    dataDir: join(k.daemon.directory, "addresses"),
  };
  const list = { cniVersion: "0.4.0", name: "pods", plugins: [{ type: "ptp", ipMasq: false, ipam }] };
  writeFileSync(join(directory, "10-pods.conflist"), JSON.stringify(list));
}

async function addressOf(k: Kubelet, pod: Pod): Promise<string> {
  const request = { podSandboxId: pod.id, verbose: false };
  const { status } = await k.cri.call<{ status: { network?: { ip: string } } }>("PodSandboxStatus", request);
  return status.network?.ip ?? "";
}

onNode("a pod has an address, its containers share it, and it goes with the pod", async (k) => {
  configureNetwork(k);
  await eventually("the network to be ready", async () => {
    const { status } = await k.cri.call<{ status: { conditions: { type: string; status: boolean }[] } }>(
      "Status",
    );
    return status.conditions.some((each) => each.type === "NetworkReady" && each.status);
  });
  const pod = await k.pod("networked", { namespaces: OWN });
  const address = await addressOf(k, pod);
  assert.match(address, /^10\.88\.7\.\d+$/);
  for (const name of ["one", "two"]) {
    const id = await k.run(pod, name, SLEEP);
    assert.match(
      (await k.exec(id, ["ip", "addr"])).stdout,
      new RegExp(`inet ${address.replaceAll(".", "\\.")}/`),
    );
    assert.equal((await k.exec(id, ["hostname"])).stdout, "networked\n");
  }
  await k.remove(pod);
});

onNode(
  "user namespaces: root inside is nobody outside, the image's files are root's inside, and can be written",
  async (k) => {
    // A mapped root is nobody outside, and must reach its root file system, as in containerd's usual directories.
    chmodSync(k.daemon.directory, 0o711);
    const range = [{ hostId: 700_000, containerId: 0, length: 65_536 }];
    const namespaces = { ...OWN, usernsOptions: { mode: "POD", uids: range, gids: range } };
    const pod = await k.pod("mapped", { namespaces });
    const id = await k.run(pod, "main", SLEEP);
    const pid = await k.pidOf(id);
    assert.match(readFileSync(`/proc/${pid}/uid_map`, "utf8"), /^\s*0\s+700000\s+65536\s*$/);
    assert.match(readFileSync(`/proc/${pid}/status`, "utf8"), /^Uid:\s+700000\s/m);
    const script = "stat -c %u:%g /bin/busybox && echo text >/made && stat -c %u:%g /made && id -u";
    const { status, stdout, stderr } = await k.exec(id, ["sh", "-c", script]);
    assert.deepEqual([status, stdout, stderr], [0, "0:0\n0:0\n0\n", ""]);
    const out = await k.exec(id, ["sh", "-c", "echo out >/dev/stdout; echo err >/dev/stderr"]);
    assert.deepEqual([out.stdout, out.stderr], ["out\n", "err\n"]);
    await k.remove(pod);
  },
  noUserNamespaces,
);
