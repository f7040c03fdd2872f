// The daemon as a service of a real systemd, by the unit that users have: Type=notify, KillMode=process, Restart=always. Such a daemon has NOTIFY_SOCKET,
// and its shims may have it too; runc would take it for the container's, and `runc start` would wait for the container's READY=1.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { isRunning } from "../harness/processes.ts";
import { forgetsEndedTasks, isHoldfastd } from "../harness/runtime.ts";
import { noSystemd, Systemd } from "../harness/systemd.ts";

const UNIT = isHoldfastd
  ? join(import.meta.dirname, "../../systemd/holdfastd.service")
  : "/lib/systemd/system/containerd.service";
const RESTARTED = [["restart"], ["kill", "--kill-who=main", "--signal=KILL"]];
const SERVICE = "under-test.service";

const daemon = Daemon.prepare();
after(() => daemon.close());

const environmentOf = (pid: number): string => readFileSync(`/proc/${pid}/environ`, "utf8");

describe("as a service of systemd", { skip: noSystemd }, () => {
  let systemd: Systemd;

  before(async () => {
    systemd = await Systemd.start();
    const environment = Object.entries(daemon.env).map(([name, value]) => `"${name}=${value}"`);
    await systemd.install(SERVICE, readFileSync(UNIT, "utf8"), [
      `ExecStart=${daemon.argv.join(" ")}`,
      `Environment=${environment.join(" ")}`,
      "RestartSec=100ms",
    ]);
    // A service of Type=notify has started when it has said READY=1.
    await systemd.do(["start", SERVICE]);
  });
  after(() => systemd.close());

  const mainPid = async (): Promise<number> => Number(await systemd.property(SERVICE, "MainPID"));
  const state = (): Promise<string> => systemd.property(SERVICE, "ActiveState");

  test("it has started when it says that it is ready, and then it serves", async () => {
    assert.equal(await state(), "active");
    assert.equal(await systemd.property(SERVICE, "Type"), "notify");
    await daemon.ctr.do(["version"]);
    assert.match(environmentOf(await mainPid()), /NOTIFY_SOCKET=/);
  });

  test("its containers start at once, and neither they nor their execs know of systemd", async () => {
    await daemon.ctr.start("served", ["sh", "-c", "until [ -e /tmp/go ]; do sleep 0.05; done; exit 7"]);
    const { stdout } = await daemon.ctr.exec("served", "e", ["env"]);
    assert.match(stdout, /PATH=/);
    assert.doesNotMatch(stdout, /NOTIFY_SOCKET/);
    const { pid } = await daemon.ctr.task("served");
    assert.doesNotMatch(environmentOf(pid), /NOTIFY_SOCKET/);
    await daemon.ctr.run("brief", ["true"]);
  });

  test("they run on while systemd restarts it, and while it comes back from SIGKILL", async () => {
    const { pid } = await daemon.ctr.task("served");
    for (const verb of RESTARTED) {
      const before = await mainPid();
      await systemd.do([...verb, SERVICE]);
      await eventually("the next daemon", async () => {
        const now = await mainPid();
        return now !== before && now !== 0 && (await state()) === "active";
      });
      assert.deepEqual(await daemon.ctr.task("served"), { id: "served", pid, status: "RUNNING" });
    }
  });

  test("a stopped service leaves them alone; their end is known when it starts again", {
    skip: forgetsEndedTasks,
  }, async () => {
    const { pid } = await daemon.ctr.task("served");
    await systemd.do(["stop", SERVICE]);
    assert.equal(await systemd.property(SERVICE, "Result"), "success");
    assert.equal(isRunning(pid), true);
    await daemon.touch("go");
    await eventually("the container to end", () => !isRunning(pid));
    await systemd.do(["start", SERVICE]);
    const client = await daemon.client();
    const { exitStatus } = await client.tasks.wait({ containerId: "served", execId: "" });
    client.close();
    assert.equal(exitStatus, 7);
    await daemon.ctr.delete("served");
    await systemd.do(["stop", SERVICE]);
    assert.equal(await daemon.leftovers(), "");
  });
});
