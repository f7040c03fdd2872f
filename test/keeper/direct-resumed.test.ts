// What a death of the shim has cut is answered by the next one as if nothing had been, or with UNAVAILABLE: never in the runtime's words for what the death has
// done, and never so that something runs which nobody knows of.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { kill } from "node:process";
import { after, test } from "node:test";
import { SPEC_PROCESS } from "../../src/api/any.ts";
import { Status } from "../../src/api/generated/process.ts";
import { Code } from "../../src/ttrpc/status.ts";
import { CriuRuntime } from "../harness/criu-runtime.ts";
import { type BundleSpec, Playground, type StartOptions } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { RuncGate } from "../harness/gate.ts";
import { killForGood } from "../harness/keeper.ts";
import { allPids, processInfo } from "../harness/processes.ts";
import { refusal, ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
const gate = new RuncGate(place.directory);
after(() => {
  gate.releaseAll();
  return place.close();
});

const SLEEPS: BundleSpec = { args: ["sleep", "1000"] };

async function running(
  id: string,
  binaryName: string,
  options: StartOptions,
  spec = SLEEPS,
): Promise<ShimClient> {
  const shim = await place.shim(id, spec, options);
  await shim.create(id, place.bundle(id), { options: { binaryName } });
  await shim.start(id);
  return shim;
}

const dyingAt = (failpoint: string): StartOptions => ({ env: { HOLDFAST_FAILPOINT: failpoint } });

async function ended(shim: ShimClient, id: string): Promise<void> {
  await place.endContainer(shim, id);
  await place.forget(shim, id);
}

function isIn(pid: number, cgroup: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, "utf8") === cgroup;
  } catch {
    return false;
  }
}

/** Commands of a shell that joins the control groups of a process, whose /proc/PID/cgroup stands in the file. */
const joining = (file: string): string => `while IFS=: read -r _ names path; do
  for directory in /sys/fs/cgroup/\${names#name=} /sys/fs/cgroup/unified /sys/fs/cgroup; do
    [ -e "$directory$path/cgroup.procs" ] && echo $$ >"$directory$path/cgroup.procs" && break
  done
done <${file}`;

/** A runtime whose first exec does what `deed` says, with the pid file in $file; the others, and the rest, are runc's. */
function runtime(name: string, deed: string): string {
  const program = join(place.directory, name);
  const script = `#!/bin/sh
case " $* " in *" exec "*) ;; *) exec runc "$@" ;; esac
[ -e ${program}.done ] && exec runc "$@"
touch ${program}.done
for word; do
  [ "$previous" = --pid-file ] && file=$word
  previous=$word
done
${deed}
`;
  writeFileSync(program, script, { mode: 0o755 });
  return program;
}

test("an exec can be started again after a death in which the runtime was about to write its pid", async () => {
  const id = "pid-file";
  const unfinished = 'touch "$(dirname "$file")/.$(basename "$file")"; kill -9 $PPID; exec sleep 1000';
  const shim = await running(id, runtime(id, unfinished), {});
  await shim.exec(id, "e", ["sh", "-c", "exit 9"]);
  await refusal(Code.UNAVAILABLE, shim.start(id, "e"));
  await shim.start(id, "e");
  assert.equal((await shim.wait(id, "e")).exitStatus, 9);
  const left = (): string[] => readdirSync(place.bundle(id)).filter((name) => name.includes("exec-"));
  await eventually("no files of the starts", () => left().length === 0);
  await ended(shim, id);
});

for (const hostPid of [false, true]) {
  const where = hostPid ? "the host's pid namespace" : "its own pid namespace";
  test(`an exec that ran when shim and runtime died before its pid was written does not run on, in ${where}`, async () => {
    const id = `unwritten-${hostPid ? "host" : "own"}`;
    // All that runc does but for the pid file. An orphan of the container's own is there too.
    const silent =
      'for word; do shift; case $word in --pid-file|"$file") ;; *) set -- "$@" "$word" ;; esac; done; runc "$@"; kill -9 $PPID; exec sleep 1000';
    const spec = { args: ["sh", "-c", "(setsid sleep 5432123 &); exec sleep 1000"], hostPid };
    const shim = await running(id, runtime(id, silent), {}, spec);
    const { pid: init } = await shim.state(id);
    const cgroup = readFileSync(`/proc/${init}/cgroup`, "utf8");
    const inContainer = (seconds: string): number[] =>
      allPids().filter((pid) => processInfo(pid)?.commandLine === `sleep ${seconds}` && isIn(pid, cgroup));
    await eventually("the orphan", () => inContainer("5432123").length === 1);
    await shim.exec(id, "e", ["sleep", "7654321"]);
    await refusal(Code.UNAVAILABLE, shim.start(id, "e"));
    await eventually("the exec's end", () => inContainer("7654321").length === 0);
    assert.equal(inContainer("5432123").length, 1);
    await ended(shim, id);
  });
}

test("an exec whose end was told when its start was undone is not started after all by a second death", async () => {
  const id = "twice";
  // The second shim dies when Wait is answered and Start is not.
  const shim = await running(id, gate.program, dyingAt("runc exec:running,answer:sent"));
  await shim.exec(id, "e", ["sleep", "1000"]);
  const waiting = shim.wait(id, "e");
  const starting = refusal(Code.UNAVAILABLE, shim.start(id, "e"));
  assert.equal((await waiting).exitStatus, 255);
  assert.match(await starting, /killed while it started/);
  assert.equal((await shim.dump()).deaths, 2);
  assert.deepEqual((await shim.pids(id)).processes.length, 1);
  await shim.start(id, "e");
  await ended(shim, id);
});

test("a start that failed when the shim died is told of with the runtime's words, and not tried again", async () => {
  const id = "failed-once";
  // The answers to Create, Start and Exec, the events of them, the answer to Wait: then it dies.
  const shim = await running(id, gate.program, dyingAt("answer:sent#7"));
  const execs = (): number =>
    readFileSync(join(gate.directory, "calls"), "utf8")
      .split("\n")
      .filter((verb) => verb === "exec").length;
  const before = execs();
  await shim.exec(id, "e", ["/no/such/program"]);
  for (const topic of ["create", "start", "exec-added"]) await place.events.arrived(`/tasks/${topic}`, id);
  const waiting = shim.wait(id, "e");
  const starting = refusal(Code.UNKNOWN, shim.start(id, "e"));
  assert.equal((await waiting).exitStatus, 255);
  assert.match(await starting, /OCI runtime exec failed.*no such file/);
  assert.equal((await shim.dump()).deaths, 1);
  assert.equal(execs(), before + 1);
  await ended(shim, id);
});

type Call = (shim: ShimClient, id: string) => Promise<unknown>;
const KILL: Call = (shim, id) => shim.kill(id, 9);
const CALLS: readonly [failpoint: string, call: Call, prepare?: Call][] = [
  ["runc kill:done", KILL],
  ["Kill:response", KILL],
  ["runc pause:running", (shim, id) => shim.pause(id)],
  ["runc pause:done", (shim, id) => shim.pause(id)],
  ["Pause:response", (shim, id) => shim.pause(id)],
  ["runc resume:running", (shim, id) => shim.resume(id), (shim, id) => shim.pause(id)],
  ["runc resume:done", (shim, id) => shim.resume(id), (shim, id) => shim.pause(id)],
  ["Resume:response", (shim, id) => shim.resume(id), (shim, id) => shim.pause(id)],
  ["runc update:running", (shim, id) => shim.update(id, { cpu: { shares: 512 } })],
  ["Update:response", (shim, id) => shim.update(id, { cpu: { shares: 512 } })],
  ["runc ps:running", (shim, id) => shim.pids(id)],
];

for (const [index, [failpoint, call, prepare]] of CALLS.entries()) {
  test(`a call is answered as if nothing had been after a death at ${failpoint}`, async () => {
    const id = `call-${index}`;
    const shim = await running(id, "", dyingAt(failpoint));
    await prepare?.(shim, id);
    await call(shim, id);
    assert.equal((await shim.dump()).deaths, 1);
    await ended(shim, id);
  });
}

test("a checkpoint that ended its container is not refused after a death; one that may have been cut is UNAVAILABLE", async () => {
  const criu = new CriuRuntime(place.directory);
  for (const [failpoint, isKnown] of [
    ["Checkpoint:response", true],
    ["runc checkpoint:done", false],
  ] as const) {
    const id = `checkpointed-${isKnown}`;
    const shim = await running(id, criu.program, dyingAt(failpoint));
    const path = join(place.directory, id);
    mkdirSync(path);
    const asked = shim.checkpoint(id, path, { exit: true });
    if (isKnown) await asked;
    else assert.match(await refusal(Code.UNAVAILABLE, asked), /killed while the checkpoint was written/);
    assert.equal((await shim.dump()).deaths, 1);
    assert.equal((await shim.wait(id)).exitStatus, 137);
    await refusal(Code.FAILED_PRECONDITION, shim.checkpoint(id, path, { exit: true }));
    await shim.delete(id);
    await place.forget(shim, id);
  }
});

test("a checkpoint that may have been cut is not made once more though the keeper has not told of the container's end yet", async () => {
  const id = "ended-unseen";
  const program = join(place.directory, id);
  const script = `#!/bin/sh
case " $* " in
  *" checkpoint "*) touch ${program}.done ;;
  *" state "*) [ -e ${program}.done ] || exec runc "$@"; echo '{"status":"stopped"}' ;;
  *) exec runc "$@" ;;
esac
`;
  writeFileSync(program, script, { mode: 0o755 });
  const shim = await running(id, program, dyingAt("runc checkpoint:done"));
  const path = join(place.directory, `${id}-image`);
  mkdirSync(path);
  const asked = refusal(Code.UNAVAILABLE, shim.checkpoint(id, path, { exit: true }));
  assert.match(await asked, /killed while the checkpoint was written/);
  rmSync(`${program}.done`);
  await ended(shim, id);
});

test("a restore can be started again after a death in which the runtime was about to write its pid", async () => {
  const id = "restore-cut";
  const criu = new CriuRuntime(place.directory);
  const image = join(place.directory, "restore-image");
  mkdirSync(image);
  writeFileSync(join(image, "pages-1.img"), "state\n");
  const shim = await place.shim(id, SLEEPS, dyingAt("runc restore:running"));
  await shim.create(id, place.bundle(id), { options: { binaryName: criu.program }, checkpoint: image });
  writeFileSync(join(place.bundle(id), ".init.pid"), "");
  await shim.start(id);
  assert.equal((await shim.dump()).deaths, 1);
  assert.equal((await shim.state(id)).status, Status.RUNNING);
  await ended(shim, id);
});

test("an exec that starts while an adopting shim undoes another's start runs on", async () => {
  const id = "adopted";
  const env = { HOLDFAST_ADOPT: "on" };
  // The runtime takes its time to end when what it starts is in the container.
  const program = join(place.directory, id);
  writeFileSync(
    program,
    `#!/bin/sh
case " $* " in *" exec "*) ;; *) exec runc "$@" ;; esac
[ -e ${program}.go ] || exec sleep 1000
runc "$@"
status=$?
sleep 0.2
exit $status
`,
    { mode: 0o755 },
  );
  const before = await running(id, program, { env });
  await before.exec(id, "cut", ["sleep", "1000"]);
  const cut = before.start(id, "cut").catch(() => {});
  const { pid: init } = await before.state(id);
  writeFileSync(`${program}.init`, readFileSync(`/proc/${init}/cgroup`));
  // Another daemon's container of the same namespace and id has the same control group.
  const other = spawn("sh", ["-c", `${joining(`${program}.init`)}\nexec sleep 1000`], { stdio: "ignore" });
  const { pid: others = 0 } = other;
  await eventually("the other's", () => processInfo(others)?.commandLine === "sleep 1000");
  killForGood((await before.connect(id)).shimPid);
  await cut;
  before.close();
  writeFileSync(`${program}.go`, "");
  const address = readFileSync(join(place.bundle(id), "address"), "utf8").trim();
  const adopting = place.invoke([...place.flags(id), "-adopt", "start"], place.bundle(id), { env });
  // At once: the undoing does not take long.
  const shim = await eventually("its socket", () => ShimClient.connect(address).catch(() => undefined));
  const isUndone = async (): Promise<boolean> =>
    (await shim.dump()).containers[0]?.execs?.find(({ id: exec }) => exec === "cut")?.state === "created";
  const started: string[] = [];
  while (started.length < 2 || !(await isUndone())) {
    const next = `next-${started.length}`;
    await shim.exec(id, next, ["sleep", "1000"]);
    await shim.start(id, next);
    started.push(next);
  }
  for (const next of started) assert.equal((await shim.state(id, next)).status, Status.RUNNING, next);
  await shim.start(id, "cut");
  assert.equal((await adopting).status, 0);
  assert.ok(other.exitCode === null && other.signalCode === null, "the other's is killed");
  other.kill("SIGKILL");
  await ended(shim, id);
});

test("a call whose runtime an upgrade has ended is UNAVAILABLE, if the other program cannot take over after all", async () => {
  const id = "upgrade-failed";
  const env = { HOLDFAST_KEEPER: "off", HOLDFAST_FAILPOINT: "upgrade:settled=stop" };
  const shim = await running(id, gate.program, { env });
  const { shimPid } = await shim.connect(id);
  await shim.exec(id, "e", ["sleep", "1000"]);
  gate.hold("exec");
  const starting = refusal(Code.UNAVAILABLE, shim.start(id, "e"));
  await gate.held("exec");
  const next = join(place.directory, `containerd-shim-${id}`);
  copyFileSync(place.binary, next);
  const upgrading = assert.rejects(shim.upgrade(next), /text file busy/i);
  await eventually("the shim to stand still", () => processInfo(shimPid)?.state === "T");
  // What somebody writes to is not executed.
  const writer = openSync(next, "r+");
  kill(shimPid, "SIGCONT");
  await upgrading;
  assert.match(await starting, /half-way/);
  closeSync(writer);
  gate.release("exec");
  await shim.start(id, "e");
  await ended(shim, id);
});

test("a shim with as much to remember as it takes comes back from a death", {
  timeout: 120_000,
}, async () => {
  const id = "much";
  const shim = await running(id, "", {});
  const { shimPid } = await shim.connect(id);
  const process = { args: ["true"], cwd: "/", env: [`X=${"x".repeat(3_900_000)}`], user: { uid: 0, gid: 0 } };
  const spec = { typeUrl: SPEC_PROCESS, value: Buffer.from(JSON.stringify(process)) };
  const streams = { terminal: false, stdin: "", stdout: "", stderr: "" };
  const add = (execId: string): Promise<unknown> => shim.task.exec({ id, execId, ...streams, spec });
  let count = 0;
  let refused: unknown;
  for (; refused === undefined && count < 20; count++)
    refused = await add(`e${count}`).then(() => {}, String);
  kill(shimPid, "SIGKILL");
  assert.notEqual((await shim.connect(id)).shimPid, shimPid);
  assert.match(String(refused), /RESOURCE_EXHAUSTED.*wait to be started/);
  for (let n = 0; n < count - 1; n++) assert.equal((await shim.state(id, `e${n}`)).status, Status.CREATED);
  await assert.rejects(add("more"), /RESOURCE_EXHAUSTED/);
  await shim.delete(id, "e0");
  await add("more");
  await ended(shim, id);
});

test("an id too long for a record's key costs nothing else: a shim that was given one comes back from a death", async () => {
  const id = "long-id";
  const shim = await running(id, "", {});
  const { shimPid } = await shim.connect(id);
  const tooLong = "x".repeat(70_000);
  await shim.exec(id, tooLong, ["sh", "-c", "exit 6"]);
  await shim.start(id, tooLong);
  assert.equal((await shim.wait(id, tooLong)).exitStatus, 6);
  assert.equal((await shim.connect(id)).shimPid, shimPid);
  const create = refusal(Code.INVALID_ARGUMENT, shim.create(tooLong, place.bundle(id)));
  assert.match(await create, /id of 70000 characters/);
  const longest = "y".repeat(4096);
  await shim.exec(id, longest, ["sh", "-c", "exit 7"]);
  kill(shimPid, "SIGKILL");
  assert.notEqual((await shim.connect(id)).shimPid, shimPid);
  await shim.start(id, longest);
  assert.equal((await shim.wait(id, longest)).exitStatus, 7);
  await shim.delete(id, longest);
  await ended(shim, id);
});

test("nothing is left behind", async () => {
  assert.equal(await place.leftovers(), "");
});
