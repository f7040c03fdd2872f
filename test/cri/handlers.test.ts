// The ways to configure our shim for Kubernetes: by its runtime's name, with options there or in a file that they name, and by its path under the name of
// the usual runtime.
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after } from "node:test";
import { eventually } from "../harness/eventually.ts";
import { isRunning } from "../harness/processes.ts";
import { containerdVersion, OUR_RUNTIME, shimBinary } from "../harness/runtime.ts";
import { BY_NAME } from "./config.ts";
import { noCri } from "./needs.ts";
import { startNode } from "./node.ts";

const SLEEP = ["sleep", "1000000"];

/** A runtime that writes down what it is asked, then is runc. */
const scratch = mkdtempSync(join(tmpdir(), "holdfast-runtime-"));
after(() => rmSync(scratch, { recursive: true }));
const asked = join(scratch, "asked");
const runtime = join(scratch, "runtime");
writeFileSync(runtime, `#!/bin/sh\necho "$@" >>${asked}\nexec runc "$@"\n`);
chmodSync(runtime, 0o755);

const options = { BinaryName: runtime };
const file = join(scratch, "options.toml");
writeFileSync(file, `BinaryName = ${JSON.stringify(runtime)}\n`);
const old = containerdVersion < 1.7;
const shim = noCri === false ? shimBinary(OUR_RUNTIME) : "";
const onNode = await startNode({
  handlers: {
    plain: BY_NAME,
    name: { ...BY_NAME, options },
    file: { ...BY_NAME, options: { ConfigPath: file } },
    path: { runtimeType: "io.containerd.runc.v2", runtimePath: shim, options },
  },
});

const ways = {
  name: old ? "containerd before 1.7 hands on no options but a file's path" : false,
  file: false,
  path: old ? "containerd knows runtime_path since 1.7" : false,
} as const;
for (const [handler, skip] of Object.entries(ways)) {
  onNode(
    `by ${handler}: our shim runs the pod with the options' runtime, and has it when containerd is back`,
    async (k) => {
      const pod = await k.pod(`by-${handler}`, { handler });
      const id = await k.run(pod, "main", SLEEP);
      const shimPid = await k.shimPid(pod.id);
      assert.equal(basename(readlinkSync(`/proc/${shimPid}/exe`)), "containerd-shim-holdfast-v2");
      assert.equal(await k.shimPid(id), shimPid);
      const lines = readFileSync(asked, "utf8").split("\n");
      for (const each of [pod.id, id]) {
        assert.ok(lines.some((line) => line.includes(" create ") && line.endsWith(` ${each}`)));
      }
      await k.daemon.kill();
      await k.launch();
      assert.equal((await k.exec(id, ["sh", "-c", "exit 3"])).status, 3);
      await k.remove(pod);
      await eventually("the shim to end", () => !isRunning(shimPid));
    },
    skip,
  );
}

onNode("without options, and as the default handler, it is runc", async (k) => {
  const pod = await k.pod("plain");
  const id = await k.run(pod, "main", SLEEP);
  assert.equal((await k.exec(id, ["true"])).status, 0);
  assert.ok(!readFileSync(asked, "utf8").includes(pod.id));
  await k.remove(pod);
});

onNode("a handler that is not configured is refused", async (k) => {
  await assert.rejects(k.pod("nobody", { handler: "no-such-handler" }), /no-such-handler/);
});
