// How holdfast and holdfastd are started: whatever Node would read of the arguments and the environment is for containers, not for Node.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { Running, run } from "../harness/command.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { HOLDFASTD } from "../harness/runtime.ts";
import { Cli } from "./cli.ts";

let daemon: Daemon;
let cli: Cli;
let directory: string;
/** Where a program that Node loads by its options leaves a trace. */
let trace: string;
let intruder: string;

before(async () => {
  daemon = await Daemon.start();
  cli = new Cli(daemon);
  daemon.ctr.ids.add("web");
  await cli.do(["run", "-d", "--name", "web", "--rootfs", daemon.rootfs, "sleep", "1000"]);
  directory = mkdtempSync(join(tmpdir(), "holdfast-launch-"));
  trace = join(directory, "trace");
  intruder = join(directory, "intruder.cjs");
  writeFileSync(intruder, `require("node:fs").writeFileSync(${JSON.stringify(trace)}, "")`);
  writeFileSync(
    join(directory, "intruder.json"),
    JSON.stringify({ nodeOptions: { import: [intruder], require: [intruder] } }),
  );
  writeFileSync(join(directory, "intruder.env"), `NODE_OPTIONS=--require ${intruder}\nPLANTED=yes\n`);
});

after(async () => {
  rmSync(directory, { recursive: true, force: true });
  cli.close();
  await daemon.close();
});

const PROGRAMS = {
  holdfast: () => cli.program,
  "holdfast-node": () => cli.nodeProgram,
  holdfastd: () => HOLDFASTD,
} as const;

interface Steering {
  readonly env: () => Record<string, string>;
  /** Whether Node has followed it. */
  readonly followed: (output: { status: number; stderr: string }) => boolean;
}

const noisy: Steering["followed"] = ({ status, stderr }) => status !== 0 || stderr !== "";
const left =
  (name: string): Steering["followed"] =>
  () => {
    const path = join(directory, name);
    const found = existsSync(path);
    rmSync(path, { recursive: true, force: true });
    return found;
  };

/** Each is seen to steer a Node that is started without the launcher, so that no row is empty. */
const STEERING: Readonly<Record<string, Steering>> = {
  NODE_OPTIONS: { env: () => ({ NODE_OPTIONS: `--require ${intruder}` }), followed: left("trace") },
  "NODE_OPTIONS that is wrong": { env: () => ({ NODE_OPTIONS: "--nosuch" }), followed: noisy },
  NODE_V8_COVERAGE: {
    env: () => ({ NODE_V8_COVERAGE: join(directory, "coverage") }),
    followed: left("coverage"),
  },
  NODE_DEBUG: { env: () => ({ NODE_DEBUG: "module,fs,net,stream,timer" }), followed: noisy },
  NODE_DEBUG_NATIVE: {
    env: () => ({ NODE_DEBUG_NATIVE: "MKSNAPSHOT,INSPECTOR_SERVER,CODE_CACHE" }),
    followed: noisy,
  },
  "NODE_OPTIONS after a line that looks like a variable": {
    env: () => ({ ANYTHING: "x\nexport NODE_QUX='", NODE_OPTIONS: `--require ${intruder}` }),
    followed: left("trace"),
  },
};

for (const [name, { env, followed }] of Object.entries(STEERING)) {
  test(`${name} does not steer the Node of holdfast and holdfastd`, async () => {
    for (const program of Object.values(PROGRAMS)) {
      const output = await run([program(), "--version"], { env: env() });
      assert.equal(followed(output), false, `${program()}: ${output.stderr}`);
      assert.match(output.stdout, /^\S+\n$/);
      assert.equal(output.status, 0);
    }
    const bare = await run([process.execPath, cli.nodeProgram, "--version"], { env: env() });
    assert.equal(followed(bare), true, `Node ${process.version} does not follow ${name}`);
  });
}

/** What libraries in our programs read, each with a command line that shows it. */
const LIBRARIES: readonly (readonly [env: Record<string, string>, words: readonly string[]])[] = [
  [{ GRPC_VERBOSITY: "DEBUG", GRPC_TRACE: "all" }, ["ps", "-q"]],
  [{ GRPC_NODE_VERBOSITY: "DEBUG", GRPC_NODE_TRACE: "all" }, ["ps", "-q"]],
  [{ BUF_BIGINT_DISABLE: "1" }, ["inspect", "web"]],
];

test("nor does a variable for a library steer the programs", async () => {
  for (const [env, words] of LIBRARIES) {
    const what = Object.keys(env).join(" ");
    const plain = await cli.run(words);
    const { status, stderr } = await cli.run(words, { env });
    assert.deepEqual([status, stderr], [plain.status, plain.stderr], what);
    const bare = await run([process.execPath, cli.nodeProgram, ...cli.argv(words).slice(1)], { env });
    assert.notEqual(bare.stderr, plain.stderr, `${what} does nothing`);
  }
  const env = Object.fromEntries(LIBRARIES.flatMap(([each]) => Object.entries(each)));
  const other = await Daemon.start({ kind: "holdfastd", env });
  const client = new Cli(other);
  other.ctr.ids.add("other");
  await client.do(["run", "-d", "--name", "other", "--rootfs", other.rootfs, "sleep", "1000"]);
  const [{ pid }] = (await client.json(["inspect", "other"])) as [{ pid: number }];
  assert.ok(pid > 0);
  assert.doesNotMatch(other.log, /subchannel/);
  client.close();
  await other.close();
});

/** Everything that Node, libuv, ICU and OpenSSL are known to read, and what may come. */
const NAMES = (
  "OPTIONS PATH EXTRA_CA_CERTS DEBUG V8_COVERAGE REPL_EXTERNAL_MODULE REPL_HISTORY COMPILE_CACHE NO_WARNINGS PENDING_DEPRECATION " +
  "REDIRECT_WARNINGS PRESERVE_SYMLINKS PRESERVE_SYMLINKS_MAIN TEST_CONTEXT TLS_REJECT_UNAUTHORIZED USE_ENV_PROXY USE_SYSTEM_CA UNIQUE_ID " +
  "CHANNEL_FD CHANNEL_SERIALIZATION_MODE DISABLE_COMPILE_CACHE SKIP_PLATFORM_CHECK PENDING_PIPE_INSTANCES ENV NOT_YET_INVENTED"
)
  .split(" ")
  .map((name) => `NODE_${name}`)
  .concat(["UV_THREADPOOL_SIZE", "UV_USE_IO_URING", "OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES"])
  .concat(["ICU_DATA", "WATCH_REPORT_DEPENDENCIES", "GRPC_TRACE", "LMDB_RESTORE", "FORCE_COLOR"])
  .concat(["MSGPACKR_NATIVE_ACCELERATION_DISABLED", "BUF_BIGINT_DISABLE", "DISABLE_TURBO_CALLS"]);

test("no variable for Node is in the environment that holdfast's Node starts with", async () => {
  const env = Object.fromEntries(NAMES.map((name) => [name, "1"]));
  const waiting = cli.spawn(["events"], { env });
  const started = (): string => readFileSync(`/proc/${waiting.pid}/environ`, "utf8");
  await eventually("Node to run", () => /(^|\0)HOLDFAST_KEPT_NODE_OPTIONS=1/.test(started()));
  const names = started()
    .split("\0")
    .map((entry) => entry.split("=", 1)[0] ?? "");
  assert.deepEqual(
    names.filter((name) => NAMES.includes(name)),
    [],
  );
  waiting.kill("SIGTERM");
  await waiting.exited;
});

test("exec -e NAME and run -e NAME take a variable for Node from the environment, and the container gets it", async () => {
  const value = `--require ${intruder} "it's" $HOME\n  export NODE_PATH=y\\`;
  const env = { NODE_OPTIONS: value, UV_THREADPOOL_SIZE: "7", NODE_EMPTY: "", PLAIN: "a b" };
  const flags = Object.keys(env).flatMap((name) => ["-e", name]);
  const script = 'printf %s "$NODE_OPTIONS"; printf "|%s|%s|%s" "$UV_THREADPOOL_SIZE" "$NODE_EMPTY" "$PLAIN"';
  const exec = await cli.run(["exec", ...flags, "web", "sh", "-c", script], { env });
  assert.deepEqual(exec, { status: 0, stdout: `${value}|7||a b`, stderr: "" });
  daemon.ctr.ids.add("once");
  const line = ["run", "--rm", "--name", "once", ...flags, "--rootfs", daemon.rootfs, "sh", "-c", script];
  assert.deepEqual(await cli.run(line, { env }), { status: 0, stdout: `${value}|7||a b`, stderr: "" });
  assert.equal(existsSync(trace), false);
});

/** Whatever Node knows, and what it reads wherever it stands. */
function nodeOptions(): string[] {
  const help = execFileSync(process.execPath, ["--help"], { encoding: "utf8" });
  const known = [...help.matchAll(/^ {2}(?:-\w, )?(--[a-z0-9-]+)/gm)].map(([, name = ""]) => name);
  const file = join(directory, "intruder.env");
  const config = join(directory, "intruder.json");
  return [
    ...known,
    ...known.map((name) => `${name}=${intruder}`),
    ...[
      `--env-file=${file}`,
      "--env-file",
      file,
      `--env-file=${directory}/nosuch`,
      "--env-file-if-exists",
      file,
    ],
    ...[`--experimental-config-file=${config}`, "--experimental-config-file", config],
    ...["--experimental-default-config-file", "--", "-", "-e", "-r", intruder, "-p", "1", ":", ":x", ""],
  ];
}

test("every option of Node reaches the command in the container, and Node follows none", async () => {
  const words = [...nodeOptions(), "it's", 'a "b" $HOME `c` \\', "*", "two\nlines", "\ttab ", "ünï"];
  assert.ok(words.length > 100);
  const script = 'printf "%s\\0" "$@"';
  const output = await cli.run(["exec", "web", "sh", "-c", script, "sh", ...words]);
  assert.equal(output.status, 0, output.stderr);
  assert.deepEqual(output.stdout.split("\0").slice(0, -1), words);
  assert.equal(existsSync(trace), false);
});

test("started through a link, by PATH, by a shell or from elsewhere, the arguments are the same, and Node gets no others", async () => {
  const places = join(directory, "a dir");
  mkdirSync(places);
  symlinkSync(cli.program, join(places, "hold'fast"));
  const words = ["exec", "web", "printf", "%s", `--env-file=${join(directory, "intruder.env")}`];
  const env = {
    HOLDFAST_ADDRESS: daemon.address,
    HOLDFAST_NAMESPACE: daemon.namespace,
    HOLDFAST_FIFOS: cli.fifos,
    NODE_PRESERVE_SYMLINKS_MAIN: "1",
    NODE_OPTIONS: `--require ${intruder}`,
    IFS: "/x",
    CDPATH: directory,
  };
  const ways: [argv: string[], path: string, cwd: string][] = [
    [[join(places, "hold'fast")], "", "/"],
    [[`./${basename(cli.program)}`], "", dirname(cli.program)],
    [["sh", cli.nodeProgram], "", "/"],
    [["bash", cli.nodeProgram], "", "/"],
    [["env", "holdfast"], dirname(cli.program), "/"],
    [["env", "hold'fast"], places, directory],
    [["env", "hold'fast"], "a dir", directory],
  ];
  for (const [argv, path, cwd] of ways) {
    const output = await run([...argv, ...words], {
      cwd,
      env: { ...env, PATH: `${path === "" ? "" : `${path}:`}${process.env.PATH}` },
    });
    assert.deepEqual(output, { status: 0, stdout: words.at(-1) ?? "", stderr: "" }, argv.join(" "));
    assert.equal(existsSync(trace), false, argv.join(" "));
  }
});

test("node on the program itself works, and is refused where Node would take an argument for itself", async () => {
  const version = await run([process.execPath, cli.nodeProgram, "--version"]);
  assert.equal(version.status, 0);
  for (const option of ["--env-file", "--env-file-if-exists", "--experimental-config-file"]) {
    const file = join(directory, "harmless");
    writeFileSync(file, "{}");
    const output = await run([process.execPath, cli.nodeProgram, "exec", "web", "node", `${option}=${file}`]);
    assert.notEqual(output.status, 0);
    assert.match(output.stderr, /Node has taken --|bad option|not allowed|[Cc]onfig/);
  }
});

test("SIGUSR1 opens no debugger, and ends holdfast as it ends any program", async () => {
  const waiting = cli.spawn(["events"]);
  await eventually("holdfast to wait", async () => {
    const title = readFileSync(`/proc/${waiting.pid}/cmdline`, "utf8");
    return title.startsWith("holdfast events");
  });
  waiting.kill("SIGUSR1");
  const { status, stderr } = await waiting.exited;
  assert.equal(status, 138);
  assert.doesNotMatch(stderr, /[Dd]ebugger/);
});

test("SIGUSR1 opens no debugger in a Node that has not come to the program yet", async () => {
  // The launcher's own flags, on a program that leaves SIGUSR1 to Node.
  const head = readFileSync(cli.nodeProgram, "utf8").split("*/", 1)[0] ?? "";
  const program = join(directory, "idle");
  writeFileSync(
    program,
    `${head}*/\nprocess.stdout.write("up\\n"); setTimeout(() => {}, 60_000); process.stdin.on("data", () => process.exit(0));\n`,
    { mode: 0o755 },
  );
  const idle = new Running([program], { stdin: "pipe" });
  await idle.printed(/up/);
  idle.kill("SIGUSR1");
  await idle.printed(/inspector|[Dd]ebugger/);
  idle.stdin.end("over");
  assert.doesNotMatch((await idle.exited).stderr, /Debugger listening/);
});
