// What holdfastd remembers of containers that have ended, as wait, inspect, ps and timeline show it. Other daemons remember nothing.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { RuncGate } from "../harness/gate.ts";
import { killForGood } from "../harness/keeper.ts";
import { processInfo } from "../harness/processes.ts";
import { isHoldfastd } from "../harness/runtime.ts";
import { Cli } from "./cli.ts";

const skip = isHoldfastd ? false : "only holdfastd keeps a history";

const directory = mkdtempSync(join(tmpdir(), "holdfast-gate-"));
const gate = new RuncGate(directory);
let daemon: Daemon;
let cli: Cli;

before(async () => {
  if (!isHoldfastd) return;
  daemon = await Daemon.start({ pathDirectories: [gate.directory], config: ["[shim]", "adopt = false"] });
  cli = new Cli(daemon);
});

after(async () => {
  gate.releaseAll();
  rmSync(directory, { recursive: true });
  if (!isHoldfastd) return;
  cli.close();
  await daemon.close();
});

interface Exit {
  status: number;
  signal: string | null;
  oom: boolean;
  startedAt: string;
  exitedAt: string;
  cause: string | null;
  causeDetail: string | null;
  usage: { cpuTotalNs: number; memoryPeakBytes: number } | null;
}

async function exitOf(id: string): Promise<Exit | null | undefined> {
  const [found] = (await cli.json(["inspect", id])) as { exit: Exit | null }[];
  return found?.exit;
}

/** Runs a container to its end, and deletes its task as clients do that keep only the record. */
async function past(id: string, flags: readonly string[], ...command: string[]): Promise<void> {
  daemon.ctr.ids.add(id);
  await cli.do(["run", "-d", "--name", id, ...flags, "--rootfs", daemon.rootfs, "--", ...command]);
  await cli.do(["wait", id]);
  // Its figures are asked for once it has ended.
  await eventually("its usage", async () => ((await exitOf(id))?.usage ?? null) !== null);
  await daemon.ctr.try(["tasks", "delete", id]);
}

test("status, times and use of a container are known after its task is gone", { skip }, async () => {
  const begun = Date.now();
  await past("done", [], "sh", "-c", "exit 5");
  assert.equal(await cli.do(["wait", "done"]), "5\n");
  const exit = await exitOf("done");
  assert.deepEqual(
    { status: exit?.status, signal: exit?.signal, oom: exit?.oom },
    { status: 5, signal: null, oom: false },
  );
  const [started, exited] = [Date.parse(exit?.startedAt ?? "1970"), Date.parse(exit?.exitedAt ?? "1970")];
  const times = [begun, started, exited, Date.now()];
  assert.deepEqual(
    times,
    times.toSorted((a, b) => a - b),
    "begun, started, exited, now",
  );
  assert.ok((exit?.usage?.cpuTotalNs ?? 0) > 0);
  const waited = JSON.parse(await cli.do(["wait", "--json", "done"])) as Exit & { id: string };
  assert.deepEqual(waited, { id: "done", ...exit });
  assert.match(await cli.do(["ps", "-a"]), /^done +ended 5, \S+ (µs|ms|s) ago +- /m);
  await cli.do(["delete", "done"]);
  assert.equal((await cli.run(["wait", "done"])).status, 1);
});

test("when a container began is the same however often it is asked for, and after its end", {
  skip,
}, async () => {
  daemon.ctr.ids.add("steady");
  await cli.do(["run", "-d", "--name", "steady", "--rootfs", daemon.rootfs, "--", "sleep", "1000"]);
  const begun = async (verb: readonly string[]): Promise<string | null> =>
    ((await cli.json(verb)) as { startedAt: string | null }[])[0]?.startedAt ?? null;
  const found = new Set<string | null>();
  for (const verb of ["ps", "inspect steady", "ps", "inspect steady"])
    found.add(await begun(verb.split(" ")));
  await cli.do(["kill", "-s", "KILL", "steady"]);
  await cli.do(["wait", "steady"]);
  found.add((await exitOf("steady"))?.startedAt ?? null);
  assert.equal(found.size, 1, [...found].join(" "));
  await cli.do(["delete", "steady"]);
});

test("a container that ends before its runtime's start does has started no later than it ended", {
  skip,
}, async () => {
  daemon.ctr.ids.add("brief");
  gate.linger("start");
  const running = cli.do(["run", "-d", "--name", "brief", "--rootfs", daemon.rootfs, "--", "true"]);
  await gate.held("start");
  const pid = Number(readFileSync(join(daemon.bundle("brief"), "init.pid"), "utf8"));
  await eventually("its end to be seen", () => processInfo(pid) === undefined);
  gate.release("start");
  await running;
  await cli.do(["wait", "brief"]);
  const exit = await exitOf("brief");
  assert.ok(Date.parse(exit?.startedAt ?? "") <= Date.parse(exit?.exitedAt ?? ""), JSON.stringify(exit));
  await cli.do(["delete", "brief"]);
});

test("an end for want of memory is told as such, also after a crash of the daemon", { skip }, async () => {
  await past("greedy", ["--memory", "16m"], "sh", "-c", "tail /dev/zero");
  const before = await exitOf("greedy");
  assert.deepEqual(
    { status: before?.status, signal: before?.signal, oom: before?.oom },
    { status: 137, signal: "SIGKILL", oom: true },
  );
  assert.ok((before?.usage?.memoryPeakBytes ?? 0) > 8 * 1024 * 1024);
  await daemon.crashAndRestart();
  assert.deepEqual(await exitOf("greedy"), before);
  assert.match(await cli.do(["ps", "-a"]), /^greedy +ended 137 \(SIGKILL\), out of memory, /m);
  await cli.do(["delete", "greedy"]);
});

test("a container that runs again has no end, and one that never ran cannot be waited for", {
  skip,
}, async () => {
  daemon.ctr.ids.add("twice");
  const create = ["create", "--name", "twice", "--rootfs", daemon.rootfs, "--"];
  await cli.do([...create, "sh", "-c", "[ -e /tmp/twice-go ] && sleep 1000; exit 6"]);
  const never = await cli.run(["wait", "twice"]);
  assert.equal(never.status, 1);
  assert.match(never.stderr, /has not been started/);
  assert.equal(await exitOf("twice"), null);
  await cli.do(["start", "twice"]);
  assert.equal(await cli.do(["wait", "twice"]), "6\n");
  assert.equal((await exitOf("twice"))?.status, 6);
  await daemon.touch("twice-go");
  await cli.do(["start", "twice"]);
  assert.equal(await exitOf("twice"), null);
  await cli.do(["delete", "-f", "twice"]);
});

test("timeline tells each call with how long it took, and each event, of execs too", { skip }, async () => {
  daemon.ctr.ids.add("told");
  await cli.do(["run", "-d", "--name", "told", "--rootfs", daemon.rootfs, "--", "sleep", "1000"]);
  await cli.run(["exec", "--exec-id", "try", "told", "false"]);
  await cli.do(["kill", "-s", "KILL", "told"]);
  await cli.do(["wait", "told"]);
  // Who waits may be quicker than the event.
  const steps = await eventually("the exit", async () => {
    const lines = (await cli.do(["timeline", "--json", "told"])).trim().split("\n");
    const told = lines.map((line) => JSON.parse(line) as { what: string; tookMs?: number });
    return told.some(({ what }) => what.startsWith("/tasks/exit: ")) && told;
  });
  const events = steps.filter(({ what }) => what.startsWith("/")).map(({ what }) => what);
  assert.deepEqual(
    events.map((what) => what.replace(/pid \d+/, "pid")),
    [
      "/containers/create",
      "/tasks/create: pid",
      "/tasks/start: pid",
      "/tasks/exec-added try",
      "/tasks/exec-started try: pid",
      "/tasks/exit try: exit status 1",
      "/tasks/exit: exit status 137 (SIGKILL)",
    ],
  );
  for (const call of ["tasks.Create", "tasks.Start", "tasks.Exec try", "tasks.Start try", "tasks.Kill"]) {
    assert.ok((steps.find(({ what }) => what === call)?.tookMs ?? 0) > 0, call);
  }
  const table = await cli.do(["timeline", "told"]);
  assert.match(table, /^TIME +SINCE THE LAST +TOOK +WHAT\n/);
  assert.match(table, /^\d\d:\d\d:\d\d\.\d{3} +\+\S+ \S+ +\S+ (µs|ms|s) +tasks\.Create$/m);
  await cli.do(["delete", "told"]);
  assert.equal(await daemon.leftovers(), "");
});

test("why it ended is told: by itself, asked for, by a signal of somebody else, by force, its shim died", {
  skip,
}, async () => {
  await past("by-itself", [], "sh", "-c", "exit 5");
  assert.equal((await exitOf("by-itself"))?.cause, "exited");
  const ends: readonly (readonly [id: string, cause: string, end: (id: string) => Promise<unknown>])[] = [
    ["asked", "kill request", (id) => cli.do(["kill", "-s", "KILL", id])],
    ["killed", "signal", async (id) => process.kill((await daemon.ctr.task(id)).pid, "SIGKILL")],
    ["shimless", "shim died", async (id) => killForGood(await daemon.shimPid(id))],
  ];
  for (const [id, cause, end] of ends) {
    daemon.ctr.ids.add(id);
    await cli.do(["run", "-d", "--name", id, "--rootfs", daemon.rootfs, "--", "sleep", "1000"]);
    await end(id);
    await cli.do(["wait", id]);
    await eventually(`the cause of ${id}`, async () => (await exitOf(id))?.cause === cause);
    const detail = (await exitOf(id))?.causeDetail ?? "";
    assert.notEqual(detail, "");
    const lines = (await cli.do(["timeline", id])).split("\n");
    const why = lines.findIndex((line) => line.endsWith(`why it ended: ${detail}`));
    assert.match(lines[why + 1] ?? "", /\/tasks\/exit: exit status 137/);
  }
  assert.match(await cli.do(["ps", "-a"]), /^shimless +ended 137 \(SIGKILL\), shim died, /m);
  assert.match((await exitOf("asked"))?.causeDetail ?? "", /^signal 9, asked for by holdfast\/\d/);
  await cli.do(["delete", "by-itself", ...ends.map(([id]) => id)]);
  // Between its end and its deletion somebody may look.
  daemon.ctr.ids.add("forced");
  await cli.do(["run", "-d", "--name", "forced", "--rootfs", daemon.rootfs, "--", "sleep", "1000"]);
  gate.hold("delete");
  const deleting = cli.do(["delete", "-f", "forced"]);
  await eventually("the cause", async () => (await exitOf("forced"))?.cause === "deleted by force");
  gate.release("delete");
  await deleting;
});
