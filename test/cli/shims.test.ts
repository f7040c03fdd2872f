// `holdfast shims` and `holdfast shim`, with our shim and Debian's Go shim side by side, and one that hangs.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { copyFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { VERSION } from "../../src/api/version.ts";
import { eventually } from "../harness/eventually.ts";
import { isRunning, processInfo } from "../harness/processes.ts";
import { OUR_RUNTIME, shimBinary } from "../harness/runtime.ts";
import { goContainer, onDaemon } from "./cli.ts";

const { daemon, cli } = await onDaemon();

before(async () => {
  await daemon.ctr.start("ours", ["until-signal", "TERM=9"]);
  await daemon.ctr.do(goContainer(daemon, "theirs", ["until-signal", "TERM=9"]));
});

interface ShimRow {
  id: string;
  pid: number;
  kind: string;
  namespace: string;
  answers: boolean;
  error: string | null;
  privateBytes: number;
  rssBytes: number;
  containers: { id: string; status: string; pid: number }[];
  socket: string;
}

async function shims(...flags: string[]): Promise<ShimRow[]> {
  const rows = (await cli.json(["shims", "-n", daemon.namespace, ...flags])) as ShimRow[];
  return rows.sort((a, b) => (a.id < b.id ? -1 : 1));
}

function stop(pid: number): Promise<unknown> {
  process.kill(pid, "SIGSTOP");
  return eventually("the shim to stop", () => processInfo(pid)?.state === "T");
}

test("shims lists ours and Go's, with their containers and memory", async () => {
  const rows = await shims();
  assert.deepEqual(
    rows.map(({ id, kind, answers, namespace }) => ({ id, kind, answers, namespace })),
    [
      { id: "ours", kind: "holdfast-v2", answers: true, namespace: daemon.namespace },
      { id: "theirs", kind: "runc-v2", answers: true, namespace: daemon.namespace },
    ],
  );
  for (const row of rows) {
    assert.equal(row.pid, await daemon.shimPid(row.id));
    assert.deepEqual(row.containers, [
      { id: row.id, status: "running", pid: (await daemon.ctr.task(row.id)).pid },
    ]);
    assert.ok(row.privateBytes > 0 && row.privateBytes <= row.rssBytes);
  }
});

test("shim upgrade puts another program in a running shim's place; one that cannot go on, or another kind of shim, stays as it was", async () => {
  const before = await daemon.shimPid("ours");
  const task = await daemon.ctr.task("ours");
  const program = join(cli.directory, "containerd-shim-holdfast-v2");
  copyFileSync(shimBinary(OUR_RUNTIME), program);
  const where = ["-n", daemon.namespace];
  const done = await cli.json(["shim", "upgrade", ...where, "--all", "--program", program]);
  const [{ pid } = { pid: 0 }] = done as { pid: number }[];
  assert.deepEqual(done, [{ id: "ours", namespace: daemon.namespace, pid, version: VERSION }]);
  assert.notEqual(pid, before);
  assert.equal(readlinkSync(`/proc/${pid}/exe`), program);
  assert.equal((await shims()).find(({ id }) => id === "ours")?.pid, pid);
  assert.deepEqual(await daemon.ctr.task("ours"), task);

  const failed = await cli.run(["shim", "upgrade", ...where, "ours", "theirs", "--program", "/bin/false"]);
  assert.equal(failed.status, 1);
  assert.match(failed.stderr, /^ours: .*\/bin\/false/m);
  assert.match(failed.stderr, /^theirs: this kind of shim cannot be upgraded while it runs$/m);
  assert.equal((await shims()).find(({ id }) => id === "ours")?.pid, pid);
  assert.equal((await cli.run(["shim", "upgrade"])).status, 2);
  // Its own program again, by the other form.
  assert.match(await cli.do(["shim", "ours", "upgrade", "--program", shimBinary(OUR_RUNTIME)]), /^ours +/m);
});

test("a shim that hangs is told as such, and the others are listed all the same", async () => {
  const pid = await daemon.shimPid("theirs");
  await stop(pid);
  try {
    const [ours, theirs] = await shims("--timeout", "3s");
    assert.equal(ours?.answers, true);
    assert.equal(theirs?.answers, false);
    assert.match(theirs?.error ?? "", /stopped by a signal/);
    const table = await cli.do(["shims", "-n", daemon.namespace, "--timeout", "3s"]);
    assert.match(table, /^theirs .*no: stopped by a signal$/m);
    assert.match(table, /^ours .* running +[\d.]+ (µs|ms|s)$/m);
  } finally {
    process.kill(pid, "SIGCONT");
  }
});

test("a hung shim of ours is dumped from the outside, with a word on what to do", async () => {
  const pid = await daemon.shimPid("ours");
  await stop(pid);
  try {
    const text = await cli.do(["shim", String(pid), "dump", "--timeout", "300ms"]);
    assert.match(text, new RegExp(`kill -CONT ${pid}`));
    assert.match(text, /stopped by a signal/);
    assert.match(text, /Descriptors/);
  } finally {
    process.kill(pid, "SIGCONT");
  }
});

for (const id of ["ours", "theirs"]) {
  test(`${id}: state, pids and exec by id, pid, socket and the pid of the container`, async () => {
    const { pid } = await daemon.ctr.task(id);
    const row = (await shims()).find((each) => each.id === id);
    assert.ok(row !== undefined);
    for (const target of [id, String(row.pid), row.socket, `unix://${row.socket}`, String(pid)]) {
      const state = (await cli.json(["shim", "-n", daemon.namespace, target, "state"])) as Record<
        string,
        unknown
      >;
      assert.equal(state.id, id);
      assert.equal(state.status, "running");
      assert.equal(state.pid, pid);
    }
    const pids = (await cli.json(["shim", id, "pids"])) as { pid: number }[];
    assert.ok(pids.some((each) => each.pid === pid));
  });

  test(`${id}: exec passes input, output, errors, environment and the exit status`, async () => {
    const script = "cat; echo $WHAT >&2; exit 7";
    const args = ["shim", id, "exec", "-i", "--env", "WHAT=oops", "--", "sh", "-c", script];
    const output = await cli.run(args, { stdin: "hello" });
    assert.deepEqual(output, { status: 7, stdout: "hello", stderr: "oops\n" });
  });

  test(`${id}: exec takes and gives every byte`, async () => {
    const data = randomBytes(3 * 1024 * 1024 + 17);
    const back = cli.spawn(["shim", id, "exec", "-i", "--", "cat"], { stdin: data, rawStdout: true });
    const hash = createHash("sha256");
    back.stdout.on("data", (chunk: Buffer) => hash.update(chunk));
    assert.equal((await back.exited).status, 0);
    assert.equal(hash.digest("hex"), createHash("sha256").update(data).digest("hex"));
  });

  test(`${id}: an exec of one's own choosing can be seen and killed`, async () => {
    const running = cli.spawn([
      "shim",
      id,
      "exec",
      "--exec-id",
      "victim",
      "--",
      "sh",
      "-c",
      "echo up; sleep 100",
    ]);
    await running.printed(/up/);
    const state = (await cli.json(["shim", id, "state", "--exec-id", "victim"])) as {
      status: string;
      pid: number;
    };
    assert.equal(state.status, "running");
    await cli.do(["shim", id, "kill", "--exec-id", "victim", "-s", "KILL"]);
    assert.equal((await running.exited).status, 137);
    assert.equal(isRunning(state.pid), false);
    const gone = await cli.run(["shim", id, "state", "--exec-id", "victim"]);
    assert.equal(gone.status, 1);
  });
}

test("dump tells our shim's calls, those under way, its processes, children and descriptors", async () => {
  const waiting = cli.spawn(["shim", "ours", "wait"]);
  const calls = async (): Promise<string[]> => {
    const { inside } = (await cli.json(["shim", "ours", "dump"])) as {
      inside: { running: { method: string }[] };
    };
    return inside.running.map(({ method }) => method);
  };
  await eventually("our Wait", async () => (await calls()).includes("Wait"));
  const failed = await cli.run(["shim", "ours", "state", "--exec-id", "nosuch"]);
  assert.match(failed.stderr, /nosuch/);
  const dump = (await cli.json(["shim", "ours", "dump"])) as {
    inside: {
      pid: number;
      calls: { method: string; ms: number; error: string }[];
      containers: { id: string; state: string }[];
      events: string[];
    };
    children: { pid: number }[];
    files: { role: string }[];
  };
  assert.ok(dump.inside.calls.length <= 32);
  assert.ok(dump.inside.calls.some(({ method, error }) => method === "State" && /NOT_FOUND/.test(error)));
  assert.deepEqual(
    dump.inside.containers.map(({ id, state }) => ({ id, state })),
    [{ id: "ours", state: "running" }],
  );
  assert.deepEqual(dump.inside.events, []);
  assert.ok(dump.children.some(({ pid }) => pid !== 0));
  assert.ok(dump.files.some(({ role }) => role === "stdout of ours"));
  waiting.kill("SIGTERM");
  await waiting.exited;
});

test("output that nobody reads shows as unread bytes in the dump", async () => {
  // ctr reads until it leaves; from then on the fifo has no reader.
  const script = "until [ -e /tmp/full-go ]; do sleep 0.05; done; head -c 5000 /dev/zero; sleep 1000";
  await daemon.ctr.start("full", ["sh", "-c", script]);
  await daemon.touch("full-go");
  await eventually("the bytes", async () => {
    const dump = (await cli.json(["shim", "full", "dump"])) as {
      files: { target: string; unread?: number }[];
    };
    return dump.files.some(({ target, unread }) => target.endsWith("full-stdout") && unread === 5000);
  });
  await daemon.ctr.remove("full");
});

test("Go's shim has a dump too, without its inside", async () => {
  const dump = (await cli.json(["shim", "theirs", "dump"])) as {
    silence: string;
    inside?: unknown;
    files: unknown[];
  };
  assert.match(dump.silence, /does not tell/);
  assert.equal(dump.inside, undefined);
  assert.ok(dump.files.length > 3);
});

test("shutdown leaves a shim with a container alone, and says so", async () => {
  const { status, stderr } = await cli.run(["shim", "ours", "shutdown"]);
  assert.equal(status, 0);
  assert.match(stderr, /it stays as long as it has containers: ours/);
  assert.equal((await daemon.ctr.task("ours")).status, "RUNNING");
});

for (const id of ["ours", "theirs"]) {
  test(`${id}: wait gives the exit status after kill, with no daemon`, async () => {
    await daemon.stop();
    try {
      const waiting = cli.spawn(["shim", id, "wait"]);
      await cli.do(["shim", id, "kill", "--signal", "TERM"]);
      const { status, stdout } = await waiting.exited;
      assert.deepEqual({ status, stdout }, { status: 0, stdout: "9\n" });
      const state = (await cli.json(["shim", id, "state"])) as {
        status: string;
        exit: { status: number; at: string };
      };
      assert.equal(state.status, "stopped");
      assert.equal(state.exit.status, 9);
      assert.ok(!Number.isNaN(Date.parse(state.exit.at)));
    } finally {
      await daemon.launch();
    }
  });
}

test("what is no shim is said to be none", async () => {
  const unknown = await cli.run(["shim", "nosuch", "state"]);
  assert.equal(unknown.status, 1);
  assert.match(unknown.stderr, /no shim of nosuch/);
  const missing = await cli.run(["shim", "/run/nosuch.sock", "state"]);
  assert.equal(missing.status, 1);
  assert.match(missing.stderr, /\/run\/nosuch\.sock: no such socket/);
  const self = await cli.run(["shim", String(process.pid), "state"]);
  assert.equal(self.status, 1);
});
