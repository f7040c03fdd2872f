// What may be said in place of an id, stop and restart, signals by name, wait with a limit, and the order and age that ps shows.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { signalName, signalNumber } from "../../src/cli/text/signals.ts";
import { nearest } from "../../src/cli/verbs/unknown.ts";
import { eventually } from "../harness/eventually.ts";
import { onDaemon } from "./cli.ts";

const { daemon, cli } = await onDaemon();

async function detached(name: string, flags: readonly string[], ...command: string[]): Promise<void> {
  daemon.ctr.ids.add(name);
  await cli.do(["run", "-d", "--name", name, ...flags, "--rootfs", daemon.rootfs, "--", ...command]);
}

interface Described {
  id: string;
  status: string;
  pid: number;
  startedAt: string | null;
  createdAt: string;
  pod: { namespace: string; pod: string; container: string } | null;
  exit: { status: number } | null;
}

async function listed(...flags: string[]): Promise<Described[]> {
  return (await cli.json(["ps", "-a", ...flags])) as Described[];
}

async function inspected(id: string): Promise<Described | undefined> {
  return ((await cli.json(["inspect", id])) as Described[])[0];
}

/** A container that says how it ends. */
const polite = [
  "sh",
  "-c",
  "trap 'exit 3' TERM; trap 'exit 4' USR1; trap 'exit 5' 37; echo up; while :; do sleep 0.05; done",
];

test("the beginning of an id will do if it is only one's, and an id wins over what begins with it", async () => {
  await detached("prefix-one", [], "sleep", "1000");
  await detached("prefix-two", [], "sleep", "1000");
  await detached("prefix", [], "sleep", "1000");
  assert.equal((await inspected("prefix-o"))?.id, "prefix-one");
  assert.equal((await inspected("prefix"))?.id, "prefix");
  const several = await cli.run(["exec", "prefix-", "true"]);
  assert.equal(several.status, 125);
  assert.match(several.stderr, /prefix- may be prefix-one, prefix-two/);
  assert.equal((await cli.run(["exec", "prefix-t", "sh", "-c", "exit 9"])).status, 9);
  for (const verb of [["kill", "-s", "KILL"], ["wait"], ["logs"], ["timeline"]])
    await cli.do([...verb, "prefix-t"]);
  await cli.do(["delete", "prefix-tw"]);
  const none = await cli.run(["kill", "prefix-three"]);
  assert.equal(none.status, 1);
  assert.match(none.stderr, /prefix-three/);
  await cli.do(["delete", "-f", "prefix"]);
  // Nobody is deleted by an empty word, not the only one either.
  assert.equal((await cli.run(["delete", "-f", ""])).status, 1);
  assert.equal((await inspected("prefix-one"))?.id, "prefix-one");
  await cli.do(["delete", "-f", "prefix-o"]);
  assert.deepEqual(await listed(), []);
});

test("a container of a pod is called as Kubernetes does, and ps and inspect say so", async () => {
  const label = (name: string, value: string): string[] => ["--label", `io.kubernetes.${name}=${value}`];
  const place = [...label("pod.name", "web-0"), ...label("pod.namespace", "shop")];
  await detached("sandbox", place, "sleep", "1000");
  await detached("app", [...place, ...label("container.name", "nginx")], "sleep", "1000");
  assert.equal((await cli.run(["exec", "shop/web-0/nginx", "sh", "-c", "exit 6"])).status, 6);
  assert.deepEqual((await inspected("shop/web-0/nginx"))?.pod, {
    namespace: "shop",
    pod: "web-0",
    container: "nginx",
  });
  assert.equal((await inspected("shop/web-0"))?.id, "sandbox");
  assert.match(
    await cli.do(["ps", "--wide"]),
    /^ID +POD +STATUS[^\n]* IMAGE[^\n]*\napp +shop\/web-0\/nginx +running/,
  );
  assert.equal((await cli.run(["exec", "shop/web-1/nginx", "true"])).status, 125);
  await cli.do(["delete", "-f", "shop/web-0/nginx", "shop/web-0"]);
});

test("ls is ps: the newest first, also after a restart of the daemon, and the age begins with the last start", async () => {
  const names = ["order-c", "order-a", "order-b"];
  for (const name of names) await detached(name, [], "sh", "-c", "[ -e /tmp/order-go ] && sleep 1000");
  const ids = async (): Promise<string[]> => (await cli.do(["ls", "-aq"])).trim().split("\n");
  assert.deepEqual(await ids(), names.toReversed());
  await cli.do(["wait", "order-c"]);
  await daemon.crashAndRestart();
  assert.deepEqual(await ids(), names.toReversed());
  await daemon.touch("order-go");
  const between = Date.now();
  await cli.do(["start", "order-c"]);
  const [found] = (await listed()).filter(({ id }) => id === "order-c");
  assert.ok(Date.parse(found?.createdAt ?? "") < between);
  // The kernel tells in hundredths of a second.
  assert.ok(Date.parse(found?.startedAt ?? "") > between - 50, JSON.stringify({ found, between }));
  await cli.do(["delete", "-f", ...names]);
});

test("stop asks, and ends who does not; what has ended has been stopped", async () => {
  await detached("polite", [], ...polite);
  await eventually("it to be up", async () => (await cli.do(["logs", "polite"])) === "up\n");
  assert.equal(await cli.do(["stop", "polite"]), "polite\n");
  assert.equal((await inspected("polite"))?.exit?.status, 3);
  assert.equal(await cli.do(["stop", "polite"]), "polite\n");
  await cli.do(["delete", "polite"]);
  await detached("deaf", [], "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done");
  await eventually("it to be up", async () => (await cli.do(["logs", "deaf"])) === "up\n");
  await cli.do(["stop", "-t", "300ms", "deaf"]);
  assert.equal((await inspected("deaf"))?.exit?.status, 137);
  await cli.do(["delete", "deaf"]);
  const none = await cli.run(["stop", "nosuch"]);
  assert.equal(none.status, 1);
  assert.match(none.stderr, /nosuch/);
});

test("stop sends the container's own signal, one from the command line, and gets one that is frozen to end", async () => {
  for (const [name, flags, more, status] of [
    ["own", ["--stop-signal", "usr1"], [], 4],
    ["given", ["--stop-signal", "usr1"], ["-s", "SIGRTMIN+3"], 5],
    ["frozen", [], [], 3],
  ] as const) {
    await detached(name, flags, ...polite);
    await eventually("it to be up", async () => (await cli.do(["logs", name])) === "up\n");
    if (name === "frozen") await cli.do(["pause", name]);
    await cli.do(["stop", ...more, name]);
    assert.equal((await inspected(name))?.exit?.status, status, name);
    await cli.do(["delete", name]);
  }
  const bad = await cli.run(["run", "--stop-signal", "nosuch", "--rootfs", daemon.rootfs, "true"]);
  assert.equal(bad.status, 125);
});

test("restart is the same container once more; one that is deleted at its end is left alone", async () => {
  await detached("again", [], ...polite);
  await eventually("it to be up", async () => (await cli.do(["logs", "again"])) === "up\n");
  const before = await inspected("again");
  assert.equal(await cli.do(["restart", "again"]), "again\n");
  const now = await inspected("again");
  assert.equal(now?.status, "running");
  assert.notEqual(now?.pid, before?.pid);
  assert.equal(now?.createdAt, before?.createdAt);
  await eventually("both starts' lines", async () => (await cli.do(["logs", "again"])) === "up\nup\n");
  await cli.do(["stop", "-t", "0", "again"]);
  await cli.do(["restart", "again"]);
  assert.equal((await inspected("again"))?.status, "running");
  await cli.do(["delete", "-f", "again"]);
  await detached("brief", ["--rm"], "sleep", "1000");
  const refused = await cli.run(["restart", "brief"]);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /run --rm/);
  assert.equal((await inspected("brief"))?.status, "running");
  await cli.do(["stop", "-t", "0", "brief"]);
  await eventually("the deletion", async () => (await listed()).length === 0);
});

test("real-time signals have names, in kill too", async () => {
  for (const [text, number] of [
    ["SIGRTMIN", 34],
    ["rtmin+3", 37],
    ["SIGRTMAX", 64],
    ["RTMAX-1", 63],
    ["sigterm", 15],
    ["9", 9],
    ["64", 64],
  ] as const) {
    assert.equal(signalNumber(text), number);
  }
  for (const text of [
    "SIGRTMIN-1",
    "RTMAX+1",
    "RTMIN+31",
    "RTMIN+",
    "SIGSIGTERM",
    "0",
    "65",
    "",
    "RTMIN+3x",
  ]) {
    assert.throws(() => signalNumber(text), /no signal is called/, text);
  }
  for (let number = 34; number <= 64; number++) assert.equal(signalNumber(signalName(number) ?? ""), number);
  await detached("realtime", [], ...polite);
  await eventually("it to be up", async () => (await cli.do(["logs", "realtime"])) === "up\n");
  await cli.do(["kill", "-s", "SIGRTMIN+3", "realtime"]);
  assert.equal(await cli.do(["wait", "realtime"]), "5\n");
  await cli.do(["delete", "realtime"]);
});

test("wait --timeout gives up with 124 and says so once, and still tells of those who have ended", async () => {
  await detached("endless", [], "sleep", "1000");
  await detached("ended", [], "sh", "-c", "exit 8");
  await cli.do(["wait", "ended"]);
  const output = await cli.run(["wait", "--timeout", "3s", "ended", "endless"]);
  assert.deepEqual(output, {
    status: 124,
    stdout: "8\n",
    stderr: "holdfast: endless: it still runs after 3.0 s\n",
  });
  await cli.do(["delete", "-f", "endless", "ended"]);
});

/** More than a timer of Node's can hold, which then goes off at once. */
const WEEKS = "1000h";

test("a time of weeks does not run out at once: in wait, stop and stats", async () => {
  await detached(
    "slow",
    [],
    "sh",
    "-c",
    "trap 'sleep 1; exit 3' TERM; echo up; while :; do sleep 0.05; done",
  );
  await eventually("it to be up", async () => (await cli.do(["logs", "slow"])) === "up\n");
  const verbs = [
    cli.run(["wait", "--timeout", WEEKS, "slow"]),
    cli.run(["shim", "slow", "wait", "--timeout", WEEKS]),
    cli.run(["stop", "--timeout", WEEKS, "-t", WEEKS, "slow"]),
  ];
  const [waited, asked, stopped] = await Promise.all(verbs);
  assert.deepEqual(waited, { status: 0, stdout: "3\n", stderr: "" });
  assert.deepEqual(asked, { status: 0, stdout: "3\n", stderr: "" });
  assert.deepEqual(stopped, { status: 0, stdout: "slow\n", stderr: "" });
  await cli.do(["start", "slow"]);
  const stats = cli.spawn(["stats", "--interval", WEEKS]);
  await eventually("it to wait", () =>
    readFileSync(`/proc/${stats.pid}/cmdline`, "utf8").startsWith("holdfast "),
  );
  const ended = await Promise.race([stats.exited, cli.do(["ps"]).then(() => undefined)]);
  assert.equal(ended, undefined);
  stats.kill("SIGKILL");
  await cli.do(["delete", "-f", "slow"]);
  for (const words of [
    ["ps", "--timeout", "99999999999999999999s"],
    ["stop", "-t", "99999999999999999999s", "slow"],
    ["stats", "--interval", "99999999999999999999h"],
  ]) {
    const { status, stdout, stderr } = await cli.run(words);
    assert.deepEqual([status, stdout], [2, ""]);
    assert.match(stderr, /^holdfast: option .* is invalid\..*\n$/);
  }
});

test("shim wait --timeout gives up too", async () => {
  await detached("shim-endless", [], "sleep", "1000");
  assert.deepEqual(await cli.run(["shim", "shim-endless", "wait", "--timeout", "300ms"]), {
    status: 124,
    stdout: "",
    stderr: "holdfast: it still runs after 300 ms\n",
  });
  await cli.do(["kill", "-s", "KILL", "shim-endless"]);
  assert.equal(await cli.do(["shim", "shim-endless", "wait", "--timeout", "60s"]), "137\n");
  await cli.do(["delete", "-f", "shim-endless"]);
});

test("what goes wrong is said once, with the id that it is about", async () => {
  const missing = `container "nosuch" in namespace "${daemon.namespace}": not found`;
  for (const verb of ["delete", "kill", "stop", "inspect", "wait", "start", "logs"]) {
    assert.equal((await cli.run([verb, "nosuch"])).stderr, `holdfast: ${missing}\n`, verb);
  }
  await detached("said", [], "sleep", "1000");
  const said = async (...words: string[]): Promise<string> => (await cli.run(words)).stderr;
  assert.equal(await said("start", "said"), "holdfast: said is running already\n");
  assert.equal(await said("delete", "said"), "holdfast: said: it is running: end it first, or give -f\n");
  assert.equal(await said("ns", "delete", "nosuch"), 'holdfast: namespace "nosuch": not found\n');
  // Without an id before it.
  assert.match(await said("ns", "create", ""), /^holdfast: identifier must not be empty/);
  await cli.do(["delete", "-f", "said"]);
});

test("with --json a command line that makes no sense is told in JSON, and in plain words without", async () => {
  const wrong: readonly (readonly [status: number, says: RegExp, words: readonly string[]])[] = [
    [2, /^unknown option '--nosuch'/, ["ps", "--nosuch"]],
    [2, /^option '--timeout <duration>' argument 'x' is invalid/, ["shims", "--timeout", "x"]],
    [2, /^unknown command 'nosuch'/, ["nosuch"]],
    [2, /^too many arguments/, ["version", "more"]],
    [2, /^a verb is missing/, []],
    [125, /^missing required argument/, ["exec"]],
    [125, /^unknown option/, ["run", "--nosuch"]],
    [2, /^unknown option '--nosuch'/, ["shim", "web", "state", "--nosuch"]],
    [2, /^no signal is called NOSUCH/, ["kill", "-s", "NOSUCH", "web"]],
  ];
  for (const [status, says, words] of wrong) {
    const output = await cli.run([...words, "--json"]);
    assert.deepEqual([output.status, output.stdout], [status, ""], words.join(" "));
    const { error, ...rest } = JSON.parse(output.stderr) as { error: string };
    assert.match(error, says);
    assert.deepEqual(rest, {});
    assert.match((await cli.run(words)).stderr, /^(holdfast:|Usage:) /);
  }
  // What follows is a container's.
  const other = await cli.run(["exec", "--nosuch", "web", "--", "sh", "--json"]);
  assert.match(other.stderr, /^holdfast: unknown option '--nosuch'/);
});

test("a shim's verbs too repeat the command line so that a terminal takes no harm", async () => {
  const output = await cli.run(["shim", "web", "no\x1b[31msuch"]);
  assert.match(output.stderr, /^holdfast: unknown command 'no\\x1b\[31msuch'/);
});

test("with --json what goes wrong is JSON too, a line each", async () => {
  const { status, stdout, stderr } = await cli.run(["delete", "--json", "nosuch", "nor-this"]);
  assert.deepEqual([status, stdout], [1, ""]);
  const errors = stderr
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { id: string; error: string });
  assert.deepEqual(
    errors.map(({ id }) => id),
    ["nosuch", "nor-this"],
  );
  for (const { id, error } of errors) assert.match(error, new RegExp(id));
});

test("version tells ours and the daemon's", async () => {
  const found = (await cli.json(["version"])) as { version: string; daemon: { version: string } };
  assert.match(found.version, /^\d+\.\d+/);
  assert.match(found.daemon.version, /\d/);
  const alone = await cli.run(["version", "--address", "/nosuch.sock"]);
  assert.equal(alone.status, 0);
  assert.match(alone.stdout, /^holdfast +\d[^\n]*\ndaemon +unknown: cannot connect/);
});

test("a guess is made for a slip, and none for another word", () => {
  const names = ["start", "stop", "stats", "ps", "update"];
  for (const [word, name] of [
    ["strat", "start"],
    ["stopp", "stop"],
    ["upadte", "update"],
    ["pause", undefined],
    ["xx", undefined],
  ] as const) {
    assert.equal(nearest(word, names), name, word);
  }
});
