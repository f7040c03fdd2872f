// The verbs for containers that are there: pause, resume, update, kill, wait, ps, inspect, stats, events, timeline, ns, delete; tables and JSON.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { eventually } from "../harness/eventually.ts";
import { isHoldfastd, runtimeName } from "../harness/runtime.ts";
import { onDaemon } from "./cli.ts";

const { daemon, cli } = await onDaemon();

before(async () => {
  await detached("web", "until-signal", "TERM=9");
});

async function detached(name: string, ...command: string[]): Promise<void> {
  daemon.ctr.ids.add(name);
  await cli.do(["run", "-d", "--name", name, "--rootfs", daemon.rootfs, "--", ...command]);
}

interface Described {
  id: string;
  namespace: string;
  status: string;
  pid: number;
  exit: { status: number; signal: string | null; oom: boolean | null; exitedAt: string } | null;
  runtime: string;
  command: string[];
  shim?: { pid: number; rssBytes: number };
  stdio?: { stdout: string };
  spec: { process: { args: string[] } };
}

async function listed(...flags: string[]): Promise<Described[]> {
  return (await cli.json(["ps", ...flags])) as Described[];
}

async function inspected(id: string): Promise<Described> {
  const [found] = (await cli.json(["inspect", id])) as Described[];
  assert.ok(found !== undefined);
  return found;
}

test("ps tells what runs, in a table, as ids and as JSON", async () => {
  const { pid } = await daemon.ctr.task("web");
  const [head = "", row = "", ...rest] = (await cli.do(["ps"])).trimEnd().split("\n");
  assert.match(head, /^ID +STATUS +PID +AGE +SHIM +COMMAND$/);
  assert.match(row, new RegExp(`^web +running +${pid} +\\S.* (holdfast|runc)-v2 +until-signal TERM=9`));
  assert.deepEqual(rest, []);
  assert.equal(await cli.do(["ps", "-q"]), "web\n");
  const [found] = await listed();
  assert.equal(found?.pid, pid);
  assert.equal(found?.status, "running");
  assert.equal(found?.exit, null);
  assert.equal(found?.runtime, runtimeName);
});

test("ps -A shows every namespace, ps another one on request, and ns counts them", async () => {
  assert.match(
    await cli.do(["ps", "-A"]),
    new RegExp(`^NAMESPACE +ID[\\s\\S]*^${daemon.namespace} +web `, "m"),
  );
  const none = await cli.run(["ps", "-n", "other"]);
  assert.deepEqual([none.status, none.stdout], [1, ""]);
  assert.match(none.stderr, /no namespace is called other/);
  await cli.do(["ns", "create", "other"]);
  assert.deepEqual(await listed("-n", "other"), []);
  // What stands first may come from a shell's alias.
  const own = ["-n", daemon.namespace];
  assert.equal(await cli.do(["-n", "other", "ps", "-q", ...own]), "web\n");
  assert.equal(await cli.do([...own, "ps", "-q", "-n", "other"]), "");
  assert.equal(await cli.do([...own, "ns", "-q", "--timeout", "60s"]), `${daemon.namespace}\nother\n`);
  assert.match(await cli.do(["-n", "other", "shim", ...own, "web", "state"]), /running/);
  const spaces = (await cli.json(["ns"])) as { name: string; containers: number; tasks: number }[];
  const counts = new Map(spaces.map(({ name, containers, tasks }) => [name, [containers, tasks]]));
  assert.deepEqual(counts.get(daemon.namespace), [1, 1]);
  assert.deepEqual(counts.get("other"), [0, 0]);
  await cli.do(["ns", "delete", "other"]);
  assert.deepEqual(await cli.do(["ns", "-q"]), `${daemon.namespace}\n`);
  assert.equal((await cli.run(["ns", "delete", daemon.namespace])).status, 1);
  assert.equal((await cli.run(["ns", "rename", "x"])).status, 2);
});

test("inspect knows record, task, shim and spec", async () => {
  const found = await inspected("web");
  assert.equal(found.pid, (await daemon.ctr.task("web")).pid);
  assert.equal(found.shim?.pid, await daemon.shimPid("web"));
  assert.ok((found.shim?.rssBytes ?? 0) > 0);
  assert.match(found.stdio?.stdout ?? "", /^file:\/\/.*\/web\.log$/);
  assert.deepEqual(found.spec.process.args, ["until-signal", "TERM=9"]);
  const none = await cli.run(["inspect", "nosuch", "web"]);
  assert.equal(none.status, 1);
  assert.match(none.stderr, /"nosuch".*: not found/);
  assert.equal((JSON.parse(none.stdout) as unknown[]).length, 1);
});

test("pause freezes and resume lets go on", async () => {
  await cli.do(["pause", "web"]);
  assert.equal((await inspected("web")).status, "paused");
  const refused = await cli.run(["exec", "web", "true"]);
  assert.equal(refused.status, 125);
  assert.match(refused.stderr, /paused/);
  await cli.do(["resume", "web"]);
  assert.equal((await inspected("web")).status, "running");
  assert.equal((await cli.run(["resume", "web"])).status, 1);
});

test("update changes the limits that stats shows", async () => {
  await cli.do(["update", "--memory", "48m", "--cpus", "0.5", "web"]);
  const [figures] = (await cli.json(["stats", "--interval", "50ms", "web"])) as Record<string, unknown>[];
  assert.equal(figures?.memoryLimitBytes, 48 * 1024 * 1024);
  assert.ok(Number(figures?.memoryBytes) > 0 && Number(figures?.cpuNs) > 0 && Number(figures?.pids) >= 1);
  assert.match(await cli.do(["stats", "--interval", "50ms"]), /^web +[\d.]+% .* 48\.0 MiB +\d+ /m);
  assert.equal((await cli.run(["update", "web"])).status, 2);
  const missing = await cli.run(["stats", "--interval", "50ms", "nosuch"]);
  assert.equal(missing.status, 1);
  assert.match(missing.stderr, /^holdfast: container "nosuch" in namespace .* not found\n$/);
  assert.equal(missing.stdout, "");
  // The beginning of an id.
  assert.match(await cli.do(["stats", "--interval", "50ms", "we"]), /^web +[\d.]+% /m);
  await cli.do(["create", "--name", "idle", "--rootfs", daemon.rootfs, "true"]);
  assert.match(
    (await cli.run(["stats", "--interval", "50ms", "idle"])).stderr,
    /^holdfast: idle: no figures: /,
  );
  await cli.do(["delete", "idle"]);
});

test("events tells of everything, of one namespace, of a topic, and stops after a count", async () => {
  assert.equal(await cli.do(["events", "--count", "0"]), "");
  const all = cli.spawn(["events"]);
  const some = cli.spawn([
    "events",
    "-n",
    daemon.namespace,
    "--topic",
    "/tasks/exit",
    "--count",
    "1",
    "--json",
  ]);
  // Events from before a subscription are nobody's: they are repeated until both hear one.
  await eventually("the subscriptions", async () => {
    await cli.do(["ns", "create", "seen"]);
    await cli.do(["ns", "delete", "seen"]);
    return /\/namespaces\/create +seen/.test(all.stdoutText);
  });
  await eventually("the exit", async () => {
    await cli.do(["exec", "--exec-id", "brief", "web", "false"]).catch(() => {});
    return some.child.exitCode !== null;
  });
  const { stdout, status } = await some.exited;
  assert.equal(status, 0);
  const event = JSON.parse(stdout) as { topic: string; namespace: string; event: { exitStatus: number } };
  assert.equal(event.topic, "/tasks/exit");
  assert.equal(event.event.exitStatus, 1);
  await all.printed(/\/tasks\/exit +web exec brief +pid \d+, exit status 1\n/);
  all.kill("SIGTERM");
  await all.exited;
  const wrong = await cli.run(["events", "topic=="]);
  assert.equal(wrong.status, 1);
  assert.match(wrong.stderr, /filter/);
});

test("timeline tells the steps in order and goes on with -f until the container is deleted", async () => {
  const following = cli.spawn(["timeline", "-f", "line"]);
  await following.printed(/TIME +SINCE THE LAST +TOOK +WHAT/);
  await detached("line", "sleep", "1000");
  await cli.do(["kill", "-s", "KILL", "line"]);
  await cli.do(["wait", "line"]);
  const past = (await cli.do(["timeline", "--json", "line"])).trim().split("\n");
  const steps = past.map((line) => JSON.parse(line) as { at: string; what: string; tookMs?: number });
  assert.deepEqual(
    steps.map(({ at }) => at),
    steps.map(({ at }) => at).sort(),
  );
  assert.ok(steps.some(({ what, tookMs }) => /Create/.test(what) && (tookMs ?? 0) > 0) || !isHoldfastd);
  // The runtime's kill may return after the container's end.
  assert.ok(steps.slice(-2).some(({ what }) => /exit status 137 \(SIGKILL\)/.test(what)));
  assert.match(await cli.do(["timeline", "line"]), /^\d\d:\d\d:\d\d\.\d{3} +\+\d.*exit status 137/m);
  await cli.do(["delete", "line"]);
  const { status, stdout } = await following.exited;
  assert.equal(status, 0);
  const topics = [...stdout.matchAll(/ (\/\S+?):?(?: |$)/gm)].map(([, topic]) => topic);
  assert.deepEqual(
    topics.filter((topic) => /create|start|exit|delete/.test(topic ?? "")),
    [
      "/containers/create",
      "/tasks/create",
      "/tasks/start",
      "/tasks/exit",
      "/tasks/delete",
      "/containers/delete",
    ],
  );
});

test("kill sends any signal, to an exec or to all; wait tells each exit", async () => {
  daemon.ctr.ids.add("second");
  await detached("second", "until-signal", "up", "USR1=4");
  await eventually("it to be up", async () => (await cli.do(["logs", "second"])) === "up\n");
  assert.equal(await cli.do(["exec", "-d", "--exec-id", "victim", "second", "sleep", "1000"]), "victim\n");
  await cli.do(["kill", "--exec-id", "victim", "-s", "9", "second"]);
  const waiting = cli.spawn(["wait", "second", "web"]);
  await cli.do(["kill", "--signal", "sigusr1", "second"]);
  await cli.do(["kill", "web"]);
  assert.deepEqual(await waiting.exited, { status: 0, stdout: "4\n9\n", stderr: "" });
  const [line = ""] = (await cli.do(["wait", "--json", "web"])).split("\n");
  const { id, status, signal, exitedAt } = JSON.parse(line) as Record<string, string>;
  assert.deepEqual({ id, status, signal }, { id: "web", status: 9, signal: null });
  assert.ok(!Number.isNaN(Date.parse(exitedAt ?? "")));
  assert.equal((await cli.run(["kill", "web"])).status, 1);
  assert.equal((await cli.run(["kill", "-s", "NOSUCH", "web"])).status, 2);
  assert.equal((await cli.run(["wait", "nosuch"])).status, 1);
});

test("ps -a tells how the ended ended, and delete takes them away", async () => {
  assert.equal(await cli.do(["ps", "-q"]), "");
  const table = await cli.do(["ps", "-a"]);
  assert.match(table, /^web +ended 9, \d\S* (µs|ms|s) ago /m);
  assert.deepEqual((await listed("-a")).map(({ id, exit }) => [id, exit?.status]).sort(), [
    ["second", 4],
    ["web", 9],
  ]);
  const gone = await cli.run(["rm", "web", "nosuch", "second"]);
  assert.equal(gone.status, 1);
  assert.match(gone.stderr, /^holdfast: container "nosuch" .*: not found\n$/);
  assert.equal(await cli.do(["ps", "-aq"]), "");
  assert.equal(await daemon.leftovers(), "");
});

test("a daemon that hangs is given up on, and one that is not there is named", async () => {
  process.kill(daemon.pid, "SIGSTOP");
  try {
    const byFlag = await cli.run(["ps", "--timeout", "300ms"]);
    const byEnvironment = await cli.run(["ps"], { env: { HOLDFAST_TIMEOUT: "300ms" } });
    for (const { status, stderr } of [byFlag, byEnvironment]) {
      assert.equal(status, 1);
      assert.match(stderr, /no answer from the daemon in time/);
    }
  } finally {
    process.kill(daemon.pid, "SIGCONT");
  }
  const never = await cli.run(["ps"], { env: { HOLDFAST_TIMEOUT: "never" } });
  assert.deepEqual([never.status, never.stderr.split(":")[1]], [2, " HOLDFAST_TIMEOUT"]);
  const nobody = await cli.run(["--address", "/run/nosuch.sock", "ps"]);
  assert.equal(nobody.status, 1);
  assert.match(nobody.stderr, /cannot connect to \/run\/nosuch\.sock: no such file/);
  assert.equal((await cli.run(["exec", "--address", "/run/nosuch.sock", "x", "true"])).status, 125);
});
