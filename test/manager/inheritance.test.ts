// What a daemon was started with, and what Node makes of it, is not what its containers run with: theirs is what a plain host gives.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { SPEC_PROCESS } from "../../src/api/any.ts";
import { childEnvironment } from "../../src/manager/child-environment.ts";
import { withUsualLimits } from "../../src/manager/tasks/child-limits.ts";
import { Running } from "../harness/command.ts";
import { NO_STDIO, remove, start } from "../harness/containers.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-inherit-"));
after(() => rmSync(directory, { recursive: true }));

test("the environment of children is ours, without what is for Node, for us, or for one process of systemd", () => {
  const own = {
    ...{ PATH: "/bin", https_proxy: "p", LANG: "C", MY_NODE: "1", LISTEN: "x" },
    ...{
      NODE_OPTIONS: "--inspect",
      NODE_V8_COVERAGE: "/c",
      NODE_EXTRA_CA_CERTS: "/x",
      UV_THREADPOOL_SIZE: "1",
    },
    ...{
      HOLDFAST_FAILPOINT: "x",
      NOTIFY_SOCKET: "@s",
      LISTEN_FDS: "1",
      WATCHDOG_USEC: "1",
      INVOCATION_ID: "i",
    },
  };
  assert.deepEqual(childEnvironment({ NAMESPACE: "n" }, own), {
    ...{ PATH: "/bin", https_proxy: "p", LANG: "C", MY_NODE: "1", LISTEN: "x" },
    NAMESPACE: "n",
  });
});

test("the soft limit of open files of children is the usual one, or the hard one if that is lower", () => {
  const limits = (hard: string): string =>
    `Limit\nMax open files            999999               ${hard}              files\n`;
  assert.deepEqual(withUsualLimits(["a", "b"], limits("1048576")), [
    "prlimit",
    "--nofile=1024:",
    "--",
    "a",
    "b",
  ]);
  assert.deepEqual(withUsualLimits(["a"], limits("500")), ["prlimit", "--nofile=500:", "--", "a"]);
});

const SHOW = "cat /proc/self/oom_score_adj; umask; cat /proc/self/environ | tr '\\0' '\\n' | sort";

test("init and exec have neither the daemon's score, mask and limits, nor Node's environment", async () => {
  const loaded = join(directory, "loaded");
  const preload = join(directory, "preload.cjs");
  writeFileSync(preload, `require("fs").writeFileSync(${JSON.stringify(loaded)}, "");`);
  // runc may raise the limit once more: what counts is what it is started with.
  const files = join(directory, "files");
  const environment = join(directory, "environment");
  const bin = join(directory, "bin");
  mkdirSync(bin);
  const wrapper = `#!/bin/sh\nulimit -Sn >>${files}\nenv >>${environment}\nexec "$(PATH=\${PATH#*${bin}:} command -v runc)" "$@"\n`;
  writeFileSync(join(bin, "runc"), wrapper, { mode: 0o755 });
  const daemon = Daemon.prepare({ kind: "holdfastd", pathDirectories: [bin] });
  const [program = "", ...args] = daemon.argv;
  const shell = `umask 077; ulimit -Sn 4000; echo -500 >/proc/self/oom_score_adj; exec "$0" "$@"`;
  const running = new Running(["setpriv", "--pdeathsig", "KILL", "sh", "-c", shell, program, ...args], {
    env: { ...daemon.env, NODE_OPTIONS: `--require=${preload}`, NODE_NO_WARNINGS: "1", NOTIFY_SOCKET: "" },
    timeoutMs: 600_000,
  });
  try {
    await running.printed(/"msg":"serving"/);
    const client = await daemon.client();
    await start(daemon, client, "heir", [
      "sh",
      "-c",
      `(${SHOW}) >/tmp/init; touch /tmp/said; exec sleep 1000`,
    ]);
    const exec = { containerId: "heir", execId: "e" };
    const spec = {
      args: ["sh", "-c", `(${SHOW}) >/tmp/exec`],
      cwd: "/",
      env: ["PATH=/bin"],
      user: { uid: 0, gid: 0 },
    };
    await client.tasks.exec({
      ...exec,
      ...NO_STDIO,
      spec: { typeUrl: SPEC_PROCESS, value: Buffer.from(JSON.stringify(spec)) },
    });
    await client.tasks.start(exec);
    assert.equal((await client.tasks.wait(exec)).exitStatus, 0);
    await eventually("the init's report", () => daemon.rootfsHas("tmp/said"));
    for (const who of ["init", "exec"]) {
      const [score, umask, ...rest] = readFileSync(join(daemon.rootfs, "tmp", who), "utf8")
        .trim()
        .split("\n");
      assert.deepEqual([who, score, umask], [who, "0", "0022"]);
      const unknown = rest.filter((line) => !/^(PATH|PWD|HOME|SHLVL|OLDPWD|_)=/.test(line));
      assert.deepEqual([who, unknown], [who, []]);
    }
    const shim = readFileSync(`/proc/${await daemon.shimPid("heir")}/environ`, "utf8");
    // What the daemon says to the shim itself.
    assert.deepEqual(shim.match(/(NODE|HOLDFAST)_\w+/g), ["HOLDFAST_ADOPT"]);
    assert.doesNotMatch(readFileSync(environment, "utf8"), /NODE_|HOLDFAST_/);
    assert.deepEqual([...new Set(readFileSync(files, "utf8").trim().split("\n"))], ["1024"]);
    assert.equal(existsSync(loaded), false, "NODE_OPTIONS was followed");
    await remove(client, "heir");
    client.close();
    running.kill("SIGTERM");
    await running.exited;
    assert.equal(await daemon.leftovers(), "");
  } finally {
    running.kill("SIGKILL");
    await running.exited;
    await daemon.close();
  }
});
