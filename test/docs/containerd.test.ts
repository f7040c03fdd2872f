// docs/containerd.md and docs/kubernetes.md, tried as written.
import assert from "node:assert/strict";
import { readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, test } from "node:test";
import { Kubelet } from "../cri/kubelet.ts";
import { noCri } from "../cri/needs.ts";
import { check } from "../harness/command.ts";
import { Daemon } from "../harness/daemon.ts";
import { IMAGE, importImage } from "../harness/image.ts";
import { containerdVersion, OUR_RUNTIME, shimBinary } from "../harness/runtime.ts";
import { noSystemdHost } from "../vm/needs.ts";
import { blocksIn } from "./pages.ts";

const OURS = "containerd-shim-holdfast-v2";

test("containerd.md: the binary is installed, and ctr runs a container with it", {
  skip: noCri,
}, async () => {
  const place = join(tmpdir(), `holdfast-docs-${process.pid}`);
  const [install = ""] = blocksIn("containerd.md", "Install", "sh");
  // The build under test, and a directory of the test's own; the rest is as written.
  const command = install
    .replace(`dist/${OURS}`, shimBinary(OUR_RUNTIME))
    .replace("/usr/local/bin/", `${place}/`);
  await check(["mkdir", place]);
  const daemon = await Daemon.start({ pathDirectories: [place] });
  after(async () => {
    await daemon.close();
    rmSync(place, { recursive: true });
  });
  await check(["sh", "-c", command]);
  // Only what was just installed is on the daemon's PATH under this name.
  rmSync(join(daemon.directory, "bin", OURS));
  await importImage(daemon);
  const [run = ""] = blocksIn("containerd.md", "Use", "sh");
  const image = run.split(" ").find((word) => word.includes("/")) ?? "";
  await daemon.ctr.do(["images", "tag", IMAGE, image]);
  const env = { CONTAINERD_ADDRESS: daemon.address, CONTAINERD_NAMESPACE: daemon.namespace };
  assert.equal(await check(["sh", "-c", run], { env }), "hello\n");
});

/** The part of the page for the installed containerd: the table of the runtime, and that of its options. */
function tablesFor(): { runtime: string; options: string } {
  const section = containerdVersion >= 2 ? "containerd 2.x" : "containerd 1.x";
  const [runtime = "", options = ""] = blocksIn("kubernetes.md", section, "toml");
  return { runtime, options };
}

/** A node whose configuration has these blocks at its end; the file's version is in the file already. */
function nodeWith(blocks: readonly string[]): Promise<Kubelet> {
  const lines = blocks
    .join("\n")
    .split("\n")
    .filter((line) => !line.startsWith("version ="));
  return Kubelet.start({ handlers: { other: { runtimeType: "io.containerd.runc.v2" } }, lines });
}

async function runsPod(blocks: readonly string[], cgroupParent?: string): Promise<void> {
  const handler = /^handler: (\S+)$/m.exec(blocksIn("kubernetes.md", "RuntimeClass", "yaml")[0] ?? "")?.[1];
  const kubelet = await nodeWith(blocks);
  try {
    const pod = await kubelet.pod("docs", { handler: handler ?? "", ...(cgroupParent && { cgroupParent }) });
    const id = await kubelet.run(pod, "main", ["sleep", "1000000"]);
    assert.equal(basename(readlinkSync(`/proc/${await kubelet.shimPid(id)}/exe`)), OURS);
    await kubelet.remove(pod);
  } finally {
    await kubelet.close();
  }
}

test(
  "kubernetes.md: the RuntimeClass's handler is the one that the table defines, and runs pods",
  { skip: noCri },
  () => runsPod([tablesFor().runtime]),
);

test(
  "kubernetes.md: the options for nodes with systemd",
  {
    skip:
      noCri !== false
        ? noCri
        : containerdVersion < 1.7
          ? "they are for containerd 1.7 and newer"
          : noSystemdHost,
  },
  () => runsPod([tablesFor().runtime, tablesFor().options], "docs.slice"),
);

test("kubernetes.md: what k3s's template adds to its configuration", {
  skip: noCri !== false ? noCri : containerdVersion < 1.7 ? "they are for containerd 1.7 and newer" : false,
}, async () => {
  const [newer = "", older = ""] = blocksIn("kubernetes.md", "k3s", "toml");
  const [base, ...added] = (containerdVersion >= 2 ? newer : older).split("\n");
  assert.equal(base, '{{ template "base" . }}');
  // The page's own node stands in for k3s's base; k3s sets the variable by what the host has.
  const onSystemd = noSystemdHost === false;
  const text = added.join("\n").replace("{{ .SystemdCgroup }}", String(onSystemd));
  assert.doesNotMatch(text, /\{\{/);
  await runsPod([text], onSystemd ? "docs.slice" : undefined);
});

test("kubernetes.md: the second way, by path", {
  skip: noCri !== false ? noCri : containerdVersion < 2 ? "its block is for containerd 2.x" : false,
}, async () => {
  const [block = ""] = blocksIn("kubernetes.md", "By name or by path?", "toml");
  await runsPod([block.replace(`/usr/local/bin/${OURS}`, shimBinary(OUR_RUNTIME))]);
});
