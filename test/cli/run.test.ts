// `holdfast run`, `start`, `logs`, `exec`, `attach` without a terminal: bytes, exit statuses, signals, and what goes wrong.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { eventually } from "../harness/eventually.ts";
import { ociSpec } from "../harness/rootfs.ts";
import { onDaemon } from "./cli.ts";

const { daemon, cli } = await onDaemon();
const { rootfs } = daemon;

/** `run` of a named container, which the leak check knows of. */
function args(name: string, ...rest: string[]): string[] {
  daemon.ctr.ids.add(name);
  return ["run", "--name", name, "--rootfs", rootfs, ...rest];
}

/** Directories with fifos that a run has left. */
function fifos(): string[] {
  return existsSync(cli.fifos) ? readdirSync(cli.fifos) : [];
}

async function listed(): Promise<string[]> {
  return (await cli.do(["ps", "-aq"])).split("\n").filter((line) => line !== "");
}

test("run gives output, errors and exit status of the command, and leaves nothing behind", async () => {
  const output = await cli.run(args("plain", "--rm", "--", "sh", "-c", "echo out; echo err >&2; exit 42"));
  assert.deepEqual(output, { status: 42, stdout: "out\n", stderr: "err\n" });
  assert.deepEqual(await listed(), []);
  assert.deepEqual(fifos(), []);
  assert.equal(await daemon.leftovers(), "");
});

test("a container that a signal ends gives 128 and the signal", async () => {
  const running = cli.spawn(args("killed", "--", "sh", "-c", "echo up; sleep 1000"));
  await running.printed(/up/);
  await cli.do(["kill", "-s", "KILL", "killed"]);
  assert.equal((await running.exited).status, 137);
  await cli.do(["delete", "killed"]);
});

for (const size of [0, 1, 65_536, 4 * 1024 * 1024 + 3]) {
  test(`${size} bytes go in and come out the same`, async () => {
    const data = randomBytes(size);
    const running = cli.spawn(args(`bytes-${size}`, "--rm", "-i", "--", "cat"), {
      stdin: data,
      rawStdout: true,
    });
    const hash = createHash("sha256");
    running.stdout.on("data", (chunk: Buffer) => hash.update(chunk));
    assert.equal((await running.exited).status, 0);
    assert.equal(hash.digest("hex"), createHash("sha256").update(data).digest("hex"));
  });
}

test("without -i a container has no input", async () => {
  const output = await cli.run(args("no-input", "--rm", "--", "sh", "-c", "cat; echo end"), {
    stdin: "never",
  });
  assert.equal(output.stdout, "end\n");
});

test("run applies environment, directory, host name, user, mounts and limits", async () => {
  const data = join(daemon.directory, "data");
  mkdirSync(data);
  writeFileSync(join(data, "file"), "from the host");
  chmodSync(data, 0o755);
  const script = "echo $A $(pwd) $(hostname) $(id -u):$(id -g) $(cat /srv/file); touch /srv/x; touch /y";
  const output = await cli.run(
    args(
      "flags",
      "--rm",
      ...["--env", "A=a b", "-w", "/tmp", "--hostname", "box", "--user", "7:8", "--read-only"],
      ...["--mount", `type=bind,source=${data},target=/srv,options=ro`, "--memory", "64m", "--cpus", "0.5"],
      ...["--", "sh", "-c", script],
    ),
  );
  assert.equal(output.stdout, "a b /tmp box 7:8 from the host\n");
  assert.equal(output.stderr.match(/Read-only file system/g)?.length, 2);
});

test("run -d leaves it running, with its output in a file for logs", async () => {
  const id = (
    await cli.do(args("quiet", "-d", "--", "sh", "-c", "for i in 1 2 3; do echo $i; done; cat; exit 3"))
  ).trim();
  assert.equal(id, "quiet");
  assert.equal((await cli.do(["wait", "quiet"])).trim(), "3");
  assert.equal(await cli.do(["logs", "quiet"]), "1\n2\n3\n");
  assert.equal(await cli.do(["logs", "--tail", "1", "quiet"]), "3\n");
  const [found] = (await cli.json(["inspect", "quiet"])) as {
    log: string;
    exit: { status: number; signal: string | null };
  }[];
  assert.equal(found?.exit.status, 3);
  assert.equal(found?.exit.signal, null);
  assert.ok(existsSync(found?.log ?? ""));
  await cli.do(["delete", "quiet"]);
  assert.equal(existsSync(found?.log ?? ""), false);
});

test("run -d --rm deletes it after its end, with its log", async () => {
  const id = (await cli.do(args("brief", "-d", "--rm", "--", "sh", "-c", "cat /tmp/brief-go"))).trim();
  await eventually("the deletion", async () => !(await listed()).includes(id));
  assert.equal((await cli.run(["logs", "brief"])).status, 1);
  assert.equal(await daemon.leftovers(), "");
});

test("logs -f follows until the end", async () => {
  await cli.do(
    args(
      "chatty",
      "-d",
      "--",
      "sh",
      "-c",
      "echo a; until [ -e /tmp/chatty-go ]; do sleep 0.05; done; echo b",
    ),
  );
  const following = cli.spawn(["logs", "-f", "chatty"]);
  await following.printed(/a\n/);
  await daemon.touch("chatty-go");
  assert.deepEqual(await following.exited, { status: 0, stdout: "a\nb\n", stderr: "" });
  await cli.do(["delete", "chatty"]);
});

test("start runs an ended container again, in the background or in front", async () => {
  daemon.ctr.ids.add("again");
  await cli.do(["create", "--name", "again", "--rootfs", rootfs, "--", "sh", "-c", "echo run; exit 5"]);
  await cli.do(["start", "again"]);
  assert.equal((await cli.do(["wait", "again"])).trim(), "5");
  assert.equal(await cli.do(["logs", "again"]), "run\n");
  assert.deepEqual(await cli.run(["start", "--attach", "again"]), { status: 5, stdout: "run\n", stderr: "" });
  await cli.do(["delete", "again"]);
});

test("a bundle runs as its config.json says", async () => {
  const bundle = join(daemon.directory, "bundle");
  mkdirSync(bundle);
  const spec = ociSpec({
    args: ["sh", "-c", "echo $B; exit 4"],
    rootfs: "../rootfs",
    cgroupsPath: "",
    env: ["B=bundle"],
  });
  writeFileSync(join(bundle, "config.json"), JSON.stringify(spec));
  daemon.ctr.ids.add("bundled");
  const output = await cli.run(["run", "--rm", "--name", "bundled", "--bundle", bundle]);
  assert.deepEqual(output, { status: 4, stdout: "bundle\n", stderr: "" });
});

test("signals for run are the container's", async () => {
  const running = cli.spawn(args("signals", "--rm", "--", "until-signal", "up", "TERM=6:got"));
  await running.printed(/up/);
  running.kill("SIGTERM");
  assert.deepEqual(await running.exited, { status: 6, stdout: "up\ngot\n", stderr: "" });
});

test("a container outlives its run that is killed, and attach comes back to it", async () => {
  const script = "trap 'exit 8' TERM; echo up; while read line; do echo \"<$line>\"; done; exit 9";
  const first = cli.spawn(args("outlive", "-i", "--", "sh", "-c", script), { stdin: "pipe" });
  await first.printed(/up/);
  first.kill("SIGKILL");
  await first.exited;
  const second = cli.spawn(["attach", "outlive"], { stdin: "pipe" });
  second.stdin.write("hello\n");
  await second.printed(/<hello>/);
  second.stdin.end();
  assert.equal((await second.exited).status, 9);
  await cli.do(["delete", "outlive"]);
});

test("run and its signals, its input and its end need no daemon", async () => {
  const script = "echo up; cat; exec until-signal 'end of input' TERM=13";
  const running = cli.spawn(args("away", "--rm", "-i", "--", "sh", "-c", script), { stdin: "pipe" });
  await running.printed(/up/);
  await daemon.kill();
  try {
    running.stdin.end("typed\n");
    await running.printed(/typed\nend of input/);
    running.kill("SIGTERM");
    await running.printed(/the daemon is away; away is deleted when it is back/);
  } finally {
    await daemon.launch();
  }
  assert.equal((await running.exited).status, 13);
  assert.deepEqual(await listed(), []);
});

test("run goes on while the daemon restarts", async () => {
  const script = "echo up; until [ -e /tmp/restart-go ]; do sleep 0.05; done; echo down; exit 11";
  const running = cli.spawn(args("restart", "--", "sh", "-c", script));
  await running.printed(/up/);
  await daemon.crashAndRestart();
  await daemon.touch("restart-go");
  assert.deepEqual(await running.exited, { status: 11, stdout: "up\ndown\n", stderr: "" });
  await cli.do(["delete", "restart"]);
});

test("exec passes bytes and status; with -d it does not wait", async () => {
  await cli.do(args("host", "-d", "--", "sleep", "1000"));
  const output = await cli.run(
    ["exec", "-i", "-e", "X=1", "-w", "/tmp", "host", "sh", "-c", "cat; echo $X $(pwd) >&2; exit 3"],
    {
      stdin: "in",
    },
  );
  assert.deepEqual(output, { status: 3, stdout: "in", stderr: "1 /tmp\n" });
  await cli.do(["exec", "-d", "host", "touch", "/tmp/by-exec"]);
  await eventually("the file", () => daemon.rootfsHas("tmp/by-exec"));
  const statuses = [];
  writeFileSync(join(daemon.rootfs, "tmp/plain"), "no program");
  const lines = [
    ["host", "nosuch"],
    ["host", "/bin/nosuch"],
    ["host", "/etc"],
    ["host", "/tmp/plain"],
  ];
  for (const line of [...lines, ["nosuch", "true"], ["host"]]) {
    statuses.push((await cli.run(["exec", ...line])).status);
  }
  assert.deepEqual(statuses, [127, 127, 126, 126, 125, 125]);
  await cli.do(["delete", "-f", "host"]);
});

test("what cannot start leaves no record, and says why", async () => {
  const missing = await cli.run(args("missing", "--", "nosuch"));
  assert.equal(missing.status, 127);
  assert.match(missing.stderr, /^holdfast: .*"nosuch": executable file not found in \$PATH\n$/);
  const denied = await cli.run(args("denied", "--", "/etc"));
  assert.equal(denied.status, 126);
  const shimless = await cli.run(args("shimless", "--runtime", "io.containerd.nosuch.v2", "--", "true"));
  assert.equal(shimless.status, 125);
  assert.match(shimless.stderr, /nosuch/);
  assert.deepEqual(await listed(), []);
  assert.equal(await daemon.leftovers(), "");
});

test("a name that is taken is refused, and the one who has it goes on", async () => {
  await cli.do(args("taken", "-d", "--", "sleep", "1000"));
  const second = await cli.run(args("taken", "--", "true"));
  assert.equal(second.status, 125);
  assert.match(second.stderr, /already exists/);
  assert.equal((await daemon.ctr.task("taken")).status, "RUNNING");
  const running = await cli.run(["delete", "taken"]);
  assert.deepEqual({ status: running.status, stdout: running.stdout }, { status: 1, stdout: "" });
  assert.match(running.stderr, /taken: it is running/);
  await cli.do(["delete", "-f", "taken"]);
});

const badLines: readonly (readonly [what: string, args: readonly string[], status: number, says: RegExp])[] =
  [
    ["an image that is not there", ["run", "true"], 125, /true: no such image/],
    ["nothing to run at all", ["run"], 125, /--rootfs DIR, or --bundle DIR/],
    [
      "a rootfs that is not there",
      ["run", "--rootfs", "/nosuch", "true"],
      125,
      /\/nosuch: no such directory/,
    ],
    ["a bundle without config.json", ["run", "--bundle", "/tmp"], 125, /config\.json: no such file/],
    ["no command", ["run", "--rootfs", "/"], 125, /what to run/],
    ["a size that is none", ["run", "--memory", "much", "--rootfs", "/", "true"], 125, /size such as/],
    [
      "a negative number of processors",
      ["run", "--cpus", "-1", "--rootfs", "/", "true"],
      125,
      /number such as/,
    ],
    [
      "a mount without target",
      ["run", "--mount", "source=/tmp", "--rootfs", "/", "true"],
      125,
      /needs source and target/,
    ],
    ["a variable without name", ["run", "--env", "=x", "--rootfs", "/", "true"], 125, /has a name/],
    [
      "a user that is not there",
      ["run", "--user", "nosuch", "--rootfs", "/", "true"],
      125,
      /passwd has no nosuch/,
    ],
    ["a group that is empty", ["run", "--user", "0:", "--rootfs", "/", "true"], 125, /give a user/],
    [
      "a security option that is none",
      ["run", "--security-opt", "apparmor=x", "--rootfs", "/", "true"],
      125,
      /this knows seccomp/,
    ],
    ["-it without a terminal", ["run", "-it", "--rootfs", "/", "true"], 125, /needs a terminal/],
    ["bad detach keys", ["run", "--detach-keys", "ctrl-pp", "--rootfs", "/", "true"], 125, /not a key/],
    ["a bad id", ["run", "--name", "../x", "--rootfs", "/", "true"], 125, /identifier/],
  ];
for (const [what, line, status, says] of badLines) {
  test(`${what} is refused`, async () => {
    const output = await cli.run(line);
    assert.equal(output.status, status, output.stderr);
    assert.match(output.stderr, says);
    assert.equal(output.stdout, "");
  });
}

test("a bundle whose config.json is a fifo, a device or a directory is refused, and not waited for", async () => {
  const kinds: Readonly<Record<string, (path: string) => unknown>> = {
    fifo: (path) => execFileSync("mkfifo", [path]),
    device: (path) => symlinkSync("/dev/zero", path),
    directory: (path) => mkdirSync(path),
  };
  for (const [kind, make] of Object.entries(kinds)) {
    const bundle = join(daemon.directory, `bundle-${kind}`);
    mkdirSync(bundle);
    make(join(bundle, "config.json"));
    const { status, stderr } = await cli.run(["run", "--name", kind, "--bundle", bundle]);
    assert.deepEqual(
      { status, stderr },
      { status: 125, stderr: `holdfast: ${bundle}/config.json: not a file\n` },
    );
  }
});
