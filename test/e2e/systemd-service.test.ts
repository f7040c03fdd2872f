// A daemon that systemd runs (Type=notify) has NOTIFY_SOCKET, and so has its shim. runc would take it for the container's: it makes a socket for the
// container, and `runc start` waits for its READY=1. containerd's go-runc keeps it from runc.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import { Daemon } from "../harness/daemon.ts";

const daemon = await Daemon.start({ env: { NOTIFY_SOCKET: join("/tmp", "holdfast-nobody-listens.sock") } });
after(() => daemon.close());

test("a container of a daemon that is a notify service starts at once, and knows nothing of systemd", async () => {
  await daemon.ctr.start("served", ["sleep", "1000"], { timeoutMs: 20_000 });
  const { stdout } = await daemon.ctr.exec("served", "e", ["cat", "/proc/1/environ"]);
  assert.match(stdout, /PATH=/);
  assert.doesNotMatch(stdout, /NOTIFY_SOCKET/);
  await daemon.ctr.kill("served", "SIGKILL");
  await daemon.ctr.run("brief", ["true"]);
});
