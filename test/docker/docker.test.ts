// Debian's unmodified Docker on holdfastd: what people do with it, with our shim under every container.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import { Docker, IMAGE } from "../harness/docker.ts";
import { eventually } from "../harness/eventually.ts";
import { killForGood } from "../harness/keeper.ts";
import { mountsBelow } from "../harness/leftovers.ts";
import { isRunning, processesMentioning } from "../harness/processes.ts";

const docker = await Docker.start();
after(() => docker.close());

const SLEEP = [IMAGE, "sleep", "1000"];
const running = (name: string): Promise<string> => docker.inspect(name, ".State.Running");

test("run: output, input, and the command's exit status", async () => {
  assert.equal(await docker.do(["run", "--rm", IMAGE, "echo", "hello"]), "hello");
  for (const status of [0, 1, 42]) {
    assert.equal((await docker.try(["run", "--rm", IMAGE, "sh", "-c", `exit ${status}`])).status, status);
  }
  assert.equal((await docker.try(["run", "--rm", IMAGE, "nonesuch"])).status, 127);
  assert.equal((await docker.try(["run", "--rm", IMAGE, "/etc"])).status, 126);
});

test("run -it on a terminal", async () => {
  const terminal = docker.terminal(["run", "--rm", "-it", IMAGE, "sh"]);
  await terminal.shows(/# /);
  terminal.type("echo $((40 + 2))x; exit 5\r");
  await terminal.shows(/42x/);
  assert.equal((await terminal.exited).status, 5);
});

test("exec, also on a terminal, logs, top, stats, pause, update", async () => {
  await docker.do(["run", "-d", "--name", "tools", IMAGE, "sh", "-c", "echo out; echo err >&2; sleep 1000"]);
  assert.equal(await docker.do(["exec", "tools", "echo", "inside"]), "inside");
  assert.equal((await docker.try(["exec", "tools", "sh", "-c", "exit 9"])).status, 9);
  const terminal = docker.terminal(["exec", "-it", "tools", "sh"]);
  await terminal.shows(/# /);
  terminal.type("exit 4\r");
  assert.equal((await terminal.exited).status, 4);
  await eventually("the log", async () => {
    const { stdout, stderr } = await docker.try(["logs", "tools"]);
    return stdout === "out\n" && stderr === "err\n";
  });
  assert.match(await docker.do(["top", "tools"]), /sleep 1000/);
  assert.match(
    await docker.do(["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}}", "tools"]),
    /^tools [\d.]+\w?i?B .* \d+$/,
  );
  await docker.do(["pause", "tools"]);
  assert.equal(await docker.inspect("tools", ".State.Paused"), "true");
  await docker.do(["unpause", "tools"]);
  await docker.do(["update", "--memory", "32m", "--memory-swap", "64m", "tools"]);
  assert.equal(await docker.inspect("tools", ".HostConfig.Memory"), String(32 * 1024 * 1024));
  await docker.do(["rm", "--force", "tools"]);
});

test("stop, kill, wait, and events", async () => {
  const since = String(Math.floor(Date.now() / 1000) - 1);
  await docker.do(["run", "-d", "--name", "told", IMAGE, "until-signal", "up", "TERM=8"]);
  await eventually("its trap", async () => (await docker.do(["logs", "told"])).includes("up"));
  const waiting = docker.do(["wait", "told"]);
  await docker.do(["stop", "told"]);
  assert.equal(await waiting, "8");
  await docker.do(["start", "told"]);
  await docker.do(["kill", "--signal", "KILL", "told"]);
  await eventually("it to be down", async () => (await running("told")) === "false");
  assert.equal(await docker.inspect("told", ".State.ExitCode"), "137");
  await docker.do(["rm", "told"]);
  const until = String(Math.ceil(Date.now() / 1000) + 1);
  const actions = await docker.do([
    "events",
    "--since",
    since,
    "--until",
    until,
    "--filter",
    "container=told",
    "--format",
    "{{.Action}}",
  ]);
  const ends = actions.split("\n").filter((action) => ["create", "start", "die", "destroy"].includes(action));
  assert.deepEqual(ends, ["create", "start", "die", "start", "die", "destroy"]);
});

test("a container that is out of memory is told as OOM killed", async () => {
  const hog = ["sh", "-c", "x=a; while true; do x=$x$x; done"];
  await docker.try(["run", "--name", "hog", "--memory", "16m", "--memory-swap", "16m", IMAGE, ...hog]);
  assert.deepEqual(
    [await docker.inspect("hog", ".State.OOMKilled"), await docker.inspect("hog", ".State.ExitCode")],
    ["true", "137"],
  );
  await docker.do(["rm", "hog"]);
});

test("--restart starts it again, as often as it says", async () => {
  await docker.do(["run", "-d", "--name", "again", "--restart", "on-failure:2", IMAGE, "sh", "-c", "exit 1"]);
  await eventually("two more runs", async () => {
    const state = await docker.inspect("again", ".RestartCount}} {{.State.Status");
    return state === "2 exited";
  });
  await docker.do(["rm", "again"]);
});

test("dockerd is killed: the container goes on, and the next dockerd has it", async () => {
  await docker.do(["run", "-d", "--name", "lives", ...SLEEP]);
  const pid = await docker.inspect("lives", ".State.Pid");
  await docker.kill();
  await docker.launch();
  assert.equal(await docker.inspect("lives", ".State.Pid"), pid);
  assert.equal(await docker.do(["exec", "lives", "echo", "still"]), "still");
  await docker.do(["rm", "--force", "lives"]);
});

test("holdfastd is killed under it: the container goes on, and an exit meanwhile is told, once", async () => {
  const script = "while [ ! -e /tmp/go ]; do sleep 0.02; done; exit 6";
  await docker.do(["run", "-d", "--name", "stays", ...SLEEP]);
  await docker.do(["run", "-d", "--name", "ends", IMAGE, "sh", "-c", script]);
  await docker.do(["run", "-d", "--name", "retries", "--restart", "on-failure:1", IMAGE, "sh", "-c", script]);
  const roots = await Promise.all(["ends", "retries"].map((name) => docker.inspect(name, ".State.Pid")));
  await docker.daemon.kill();
  for (const pid of roots) await docker.touchIn(Number(pid), "/tmp/go");
  await docker.daemon.launch();
  await eventually("the exit to be told", async () => (await running("ends")) === "false", 60_000);
  assert.equal(await docker.inspect("ends", ".State.ExitCode"), "6");
  await eventually(
    "its one restart to be over",
    async () => (await docker.inspect("retries", ".RestartCount}} {{.State.Status")) === "1 exited",
    60_000,
  );
  assert.equal(await docker.do(["exec", "stays", "echo", "still"]), "still");
  await docker.do(["stop", "--time", "1", "stays"]);
  for (const name of ["stays", "ends", "retries"]) await docker.do(["rm", name]);
});

test("a shim is killed: its container stays up, and takes execs", async () => {
  await docker.do(["run", "-d", "--restart=no", "--name", "kept", ...SLEEP]);
  const shim = await docker.shimPid("kept");
  process.kill(shim, "SIGKILL");
  await eventually("another shim", () => !isRunning(shim));
  assert.equal(await docker.do(["exec", "kept", "echo", "still"]), "still");
  assert.match(await docker.do(["ps", "--filter", "name=kept", "--format", "{{.Status}}"]), /^Up /);
  await docker.do(["rm", "--force", "kept"]);
});

test("a shim is killed for good: another takes its container over, and Docker does not notice", async () => {
  await docker.do(["run", "-d", "--restart=no", "--name", "orphan", ...SLEEP]);
  const shim = await docker.shimPid("orphan");
  killForGood(shim);
  assert.equal(await docker.do(["exec", "orphan", "echo", "still"]), "still");
  assert.notEqual(await docker.shimPid("orphan"), shim);
  assert.equal(await running("orphan"), "true");
  await docker.do(["kill", "orphan"]);
  await eventually("it to be down", async () => (await running("orphan")) === "false");
  assert.equal(await docker.inspect("orphan", ".State.ExitCode"), "137");
  await docker.do(["start", "orphan"]);
  assert.equal(await running("orphan"), "true");
  await docker.do(["rm", "--force", "orphan"]);
});

test("nothing is left behind", async () => {
  const client = (await docker.daemon.client()).inNamespace("moby");
  await eventually(
    "all records to go",
    async () => (await client.containers.list({ filters: [] })).containers.length === 0,
  );
  client.close();
  const isShim = ({ commandLine }: { commandLine: string }): boolean =>
    commandLine.includes("containerd-shim");
  const shims = () => processesMentioning(docker.daemon.address).filter(isShim);
  await eventually("all shims to go", () => shims().length === 0);
  assert.deepEqual(mountsBelow(join(docker.daemon.directory, "state")), []);
});
