// What containers and other users show `holdfast`: processes that are called shims, directories that look like bundles, fifos and devices in
// place of files, forged rows in /proc, and control characters in everything that they name.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { type Output, run } from "../harness/command.ts";
import { eventually } from "../harness/eventually.ts";
import { makeFifo } from "../harness/fifo.ts";
import { allPids, isRunning } from "../harness/processes.ts";
import { onDaemon } from "./cli.ts";

const started: ChildProcess[] = [];
after(() => {
  for (const child of started) child.kill("SIGKILL");
});
const { daemon, cli } = await onDaemon();
/** Everybody may look into it. */
const directory = realpathSync(mkdtempSync(join(tmpdir(), "holdfast-trust-")));
after(() => rmSync(directory, { recursive: true, force: true }));
const impostor = join(directory, "containerd-shim-impostor-v2");
const NOBODY = 65534;

before(async () => {
  chmodSync(directory, 0o755);
  copyFileSync("/usr/bin/busybox", impostor);
  chmodSync(impostor, 0o755);
  daemon.ctr.ids.add("web");
  await cli.do(["run", "-d", "--name", "web", "--rootfs", daemon.rootfs, "sleep", "1000"]);
});

interface Row {
  id: string;
  pid: number;
  bundle: string;
  socket: string | null;
  sockets: string[];
  containers: { id: string }[];
  answers: boolean;
}

async function shims(): Promise<Row[]> {
  return (await cli.json(["shims", "-n", daemon.namespace])) as Row[];
}

/** What the impostor's command line says, as far as it is a shell. */
function words(id: string): string[] {
  return ["-c", "while :; do sleep 1; done", "-id", id, "-namespace", daemon.namespace, "-address", "/none"];
}

/** Starts an impostor and waits until it is one; `wrapper` is a command that starts it in another place. */
async function impersonate(
  id: string,
  options: { wrapper?: string[]; uid?: number; cwd?: string } = {},
): Promise<number> {
  const { wrapper = [], uid, cwd } = options;
  const script = 'exec -a sh "$@"';
  const argv = [...wrapper, "bash", "-c", script, "bash", impostor, ...words(id)];
  const child = spawn(argv[0] ?? "", argv.slice(1), { uid, gid: uid, cwd: cwd ?? "/", stdio: "ignore" });
  started.push(child);
  return eventually(`the impostor ${id}`, () =>
    allPids().find((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/exe`) === impostor && commandOf(pid).includes(id);
      } catch {
        return false;
      }
    }),
  );
}

function commandOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
}

test("a process of our own user and namespaces whose program is called a shim counts", async () => {
  const pid = await impersonate("real-enough");
  const row = (await shims()).find((each) => each.pid === pid);
  assert.equal(row?.id, "real-enough");
  assert.deepEqual({ bundle: row.bundle, containers: row.containers }, { bundle: "", containers: [] });
});

const OTHERS = {
  "another user": { uid: NOBODY },
  "another mount namespace": { wrapper: ["unshare", "--mount"] },
  "another pid namespace": { wrapper: ["unshare", "--pid", "--fork", "--kill-child"] },
  "another user namespace": {
    wrapper: ["setpriv", "--reuid=65533", "--clear-groups", "unshare", "--user", "--map-root-user"],
  },
} as const;

for (const [place, options] of Object.entries(OTHERS)) {
  test(`a process of ${place} that is called a shim does not count`, async () => {
    const id = `of-${place.replaceAll(" ", "-")}`;
    const pid = await impersonate(id, {
      ...options,
      wrapper: "wrapper" in options ? [...options.wrapper] : [],
    });
    assert.equal(
      (await shims()).find((row) => row.pid === pid || row.id === id),
      undefined,
    );
    const output = await cli.run(["shim", String(pid), "dump"]);
    assert.equal(output.status, 1);
    assert.match(output.stderr, /no shim of/);
    assert.equal(isRunning(pid), true);
  });
}

test("a container's process that is called a shim does not count, and doctor does not look where it works", async () => {
  const inside = join(daemon.rootfs, "bin/containerd-shim-x");
  copyFileSync("/usr/bin/busybox", inside);
  chmodSync(inside, 0o755);
  daemon.ctr.ids.add("liar");
  const script = `mkdir -p /tmp/liar/a/b && cd /usr/share 2>/dev/null || cd /tmp/liar/a/b; exec -a sh /bin/containerd-shim-x -c 'echo up; while :; do sleep 1; done' -id liar -namespace ${daemon.namespace}`;
  await cli.do(["run", "-d", "--name", "liar", "--rootfs", daemon.rootfs, "sh", "-c", script]);
  await eventually("the liar", async () => (await cli.run(["logs", "liar"])).stdout.includes("up"));
  const rows = (await shims()).filter(({ id }) => id === "liar");
  assert.deepEqual(
    rows.map(({ pid }) => pid),
    [await daemon.shimPid("liar")],
  );
  const { stdout } = await cli.run(["doctor", "--json", "--timeout", "15s"]);
  const items = (JSON.parse(stdout) as { items?: string[] }[]).flatMap((finding) => finding.items ?? []);
  assert.deepEqual(
    items.filter((item) => /^\/(usr|tmp\/liar|bin)\//.test(item)),
    [],
  );
  await cli.do(["delete", "-f", "liar"]);
  rmSync(inside);
});

test("a directory that is no bundle is not taken for one: doctor lists nothing of it", async () => {
  const tree = join(directory, "tree/of/names");
  mkdirSync(tree, { recursive: true });
  const pid = await impersonate("lost", { cwd: tree });
  assert.equal((await shims()).find((row) => row.pid === pid)?.bundle, "");
  const open = join(directory, "open/io.containerd.runtime.v2.task/ns/id");
  mkdirSync(open, { recursive: true });
  chmodSync(join(open, ".."), 0o777);
  const second = await impersonate("open", { cwd: open });
  assert.equal((await shims()).find((row) => row.pid === second)?.bundle, "");
  const theirs = join(directory, "theirs/io.containerd.runtime.v2.task/ns/id");
  mkdirSync(theirs, { recursive: true });
  chownSync(theirs, NOBODY, NOBODY);
  const third = await impersonate("theirs", { cwd: theirs });
  assert.equal((await shims()).find((row) => row.pid === third)?.bundle, "");
  const ours = join(directory, "ours/io.containerd.runtime.v2.task/ns/id");
  mkdirSync(ours, { recursive: true });
  const fourth = await impersonate("ours", { cwd: ours });
  assert.equal((await shims()).find((row) => row.pid === fourth)?.bundle, ours);
  const { stdout } = await cli.run(["doctor", "--json", "--timeout", "15s"]);
  for (const root of ["tree", "open", "theirs"]) assert.ok(!stdout.includes(join(directory, root)), stdout);
});

test("an address that is a fifo, a device, a link, a directory or endless stops nobody", async () => {
  const namespace = join(daemon.bundle("web"), "..");
  const places = ["fifo", "zero", "link", "directory", "huge", "long"].map((name) =>
    join(namespace, `odd-${name}`),
  );
  for (const place of places) mkdirSync(place);
  const [fifo = "", zero = "", link = "", inside = "", huge = "", long = ""] = places.map((place) =>
    join(place, "address"),
  );
  makeFifo(fifo);
  symlinkSync("/dev/zero", zero);
  const { socket } = (await shims()).find(({ id }) => id === "web") ?? {};
  writeFileSync(join(directory, "address"), `unix://${socket}`);
  symlinkSync(join(directory, "address"), link);
  mkdirSync(inside);
  writeFileSync(huge, "");
  truncateSync(huge, 2 ** 40);
  // One that would be an address, were it shorter.
  writeFileSync(long, `unix://${socket}${" ".repeat(8192)}`);
  try {
    for (const line of [
      ["shims"],
      ["shim", "web", "dump"],
      ["shim", "web", "state"],
      ["doctor", "--timeout", "15s"],
      ["inspect", "web"],
    ]) {
      const output = await cli.run(line, { timeoutMs: 60_000 });
      assert.ok(output.status === 0 || line[0] === "doctor", output.stderr);
    }
    const row = (await shims()).find(({ id }) => id === "web");
    assert.deepEqual(
      row?.containers.map(({ id }) => id),
      ["web"],
    );
  } finally {
    for (const place of places) rmSync(place, { recursive: true });
  }
});

test("a socket's name that looks like a row for a shim's socket does not lead there", async () => {
  const before = (await shims()).find(({ id }) => id === "web");
  assert.ok(before?.socket);
  const row = readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .find((each) => each.endsWith(` ${before.socket}`));
  const inode = row?.trim().split(/\s+/)[6] ?? "";
  assert.match(inode, /^\d+$/);
  const evil = join(directory, "evil.sock");
  const servers: Server[] = [];
  const listen = async (path: string): Promise<void> => {
    const server = createServer((connection) => connection.destroy());
    servers.push(server);
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(path, resolve));
  };
  await listen(evil);
  chownSync(evil, NOBODY, NOBODY);
  await listen(
    `\0${process.pid}\n0: 2 0 10000 1 1 ${inode} ${evil}\n0: 2 0 10000 1 1 ${inode} @${process.pid}`,
  );
  try {
    const now = (await shims()).find(({ id }) => id === "web");
    assert.deepEqual(now?.sockets, before.sockets);
    assert.equal(now?.answers, true);
  } finally {
    for (const server of servers) server.close();
  }
});

/** Everything that begins a terminal's command, raw. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: looked for on purpose.
const RAW = /[\0-\x08\x0b-\x1f\x7f-\x9f]/;
const NASTY = "\x1b[2J\x1b]0;owned\x07\u009b31m\rX";

test("control characters in arguments, ids, labels and errors are shown, not obeyed", async () => {
  daemon.ctr.ids.add("nasty");
  const line = ["sh", "-c", "sleep 1000 & wait", NASTY];
  await cli.do(["run", "-d", "--name", "nasty", "--rootfs", daemon.rootfs, ...line]);
  const pid = await impersonate(`evil${NASTY}`);
  const outputs = await Promise.all(
    [
      ["ps"],
      ["shims"],
      ["doctor", "--timeout", "15s"],
      ["shim", "nasty", "dump"],
      ["shim", "nasty", "pids"],
      ["shim", "nasty", "state"],
      ["inspect", "nasty"],
      ["timeline", "nasty"],
      ["stats", "nasty"],
      ["shim", String(pid), "state"],
      ["exec", "nasty", NASTY],
      ["inspect", NASTY],
      [NASTY],
      ["ps", `--${NASTY}`],
      ["logs", `--tail=${NASTY}`, "nasty"],
      ["ps", "--address", `/run/${NASTY}`],
      ["shim", `/run/${NASTY}`, "state"],
      ["--json", "inspect", NASTY],
      ["--json", "shims"],
    ].map(async (args) => ({ args, ...(await cli.run(args)) })),
  );
  for (const { args, stdout, stderr } of outputs) {
    assert.doesNotMatch(`${stdout}${stderr}`, RAW, JSON.stringify(args));
  }
  assert.match(outputs[0]?.stdout ?? "", /\\x1b\[2J/);
  assert.match(outputs[1]?.stdout ?? "", /evil\\x1b\[2J\\x1b\]0;owned\\x07\\x9b31m\\rX/);
  assert.match(outputs[3]?.stdout ?? "", /\\x1b\[2J/);
  await cli.do(["delete", "-f", "nasty"]);
});

test("on a terminal there are colours, and still nothing of anybody else's", async () => {
  daemon.ctr.ids.add("painted");
  const line = ["sh", "-c", "sleep 1000 & wait", "\x1b[35mX"];
  await cli.do(["run", "-d", "--name", "painted", "--rootfs", daemon.rootfs, ...line]);
  const script = `$H ps; $H shim painted dump; echo over`;
  const terminal = cli.shellTerminal(script);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: looked for on purpose.
  const { input = "" } = await terminal.shows(/\x1b\[1mID[\s\S]*over/);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: looked for on purpose.
  assert.doesNotMatch(input, /\x1b\[35m/);
  assert.match(input, /\\x1b\[35mX/);
  await cli.do(["delete", "-f", "painted"]);
});

test("errors are JSON with --json, one on a line, with the id that each is about", async () => {
  const { status, stderr } = await cli.run(["kill", "--json", "nosuch-1", "nosuch-2"]);
  assert.equal(status, 1);
  const errors = stderr
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { id: string; error: string });
  assert.deepEqual(
    errors.map(({ id }) => id),
    ["nosuch-1", "nosuch-2"],
  );
  const one = await cli.run(["logs", "--json", "nosuch"]);
  assert.match((JSON.parse(one.stderr) as { error: string }).error, /nosuch/);
});

test("what cannot be written ends with status 1 and a word, whatever the verb", async () => {
  for (const verb of [
    "ps",
    "shims",
    "ns",
    "inspect web",
    "shim web dump",
    "completion bash",
    "--help",
    "doctor --timeout 15s",
  ]) {
    const { status, stderr } = await runShell(`$H ${verb} > /dev/full`);
    assert.equal(status, 1, verb);
    assert.match(stderr, /cannot write the output: no space left on device/, verb);
  }
  for (const verb of ["ps", "inspect web", "exec web echo x"]) {
    const { status, stderr } = await runShell(`$H --json ${verb} > /dev/full`);
    assert.deepEqual(
      [status, JSON.parse(stderr)],
      [1, { error: "cannot write the output: no space left on device" }],
      verb,
    );
  }
  // A reader that has gone is no failure to speak of.
  const left = await runShell("mkfifo $D/p; (exec 3<$D/p; echo) & exec 4>$D/p; wait; $H completion bash >&4");
  assert.deepEqual(left, { status: 141, stdout: "\n", stderr: "" });
});

async function runShell(script: string): Promise<Output> {
  const env = {
    H: cli.program,
    HOLDFAST_ADDRESS: daemon.address,
    HOLDFAST_NAMESPACE: daemon.namespace,
    D: directory,
  };
  return run(["bash", "-c", script], { env });
}

test("doctor advises nothing against what a daemon has on record, or a living shim serves", async () => {
  daemon.ctr.ids.add("ended");
  await cli.do(["run", "-d", "--name", "ended", "--rootfs", daemon.rootfs, "true"]);
  await cli.do(["wait", "ended"]);
  // As if its processes were gone with nobody there: on record first, then not.
  const state = join("/run/containerd/runc", daemon.namespace, "recorded");
  mkdirSync(state, { recursive: true });
  writeFileSync(join(state, "state.json"), JSON.stringify({ init_process_pid: 4_194_304 }));
  daemon.ctr.ids.add("recorded");
  await cli.do(["create", "--name", "recorded", "--rootfs", daemon.rootfs, "true"]);
  const found = async (): Promise<{ text: string; items: string[] }> => {
    const { stdout } = await cli.run(["doctor", "--json", "--timeout", "15s"]);
    const findings = JSON.parse(stdout) as { check: string; items?: string[]; advice?: string }[];
    return { text: stdout, items: findings.flatMap(({ items = [] }) => items) };
  };
  try {
    const known = await found();
    assert.ok(!known.items.includes(state), known.text);
    assert.ok(!known.items.some((item) => item.endsWith("/ended")), known.text);
    assert.doesNotMatch(known.text, /rm -r/);
    await daemon.stop();
    try {
      // It may know them: nobody is told to remove anything.
      const unknown = await found();
      assert.ok(unknown.items.includes(state));
      const advice = unknown.text.split(state).at(-1) ?? "";
      assert.doesNotMatch(unknown.text, /delete --force/, advice);
    } finally {
      await daemon.launch();
    }
    await cli.do(["delete", "recorded"]);
    assert.ok((await found()).items.includes(state));
  } finally {
    rmSync(state, { recursive: true, force: true });
  }
});
