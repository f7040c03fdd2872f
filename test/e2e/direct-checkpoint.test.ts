// Checkpoint and restore: what the runtime is asked, what becomes of the container, and what is said when it cannot be done.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Code } from "../../src/ttrpc/status.ts";
import { CriuRuntime, criuPath } from "../harness/criu-runtime.ts";
import { onGo, Playground } from "../harness/direct-shim.ts";
import { FifoReader, makeFifo } from "../harness/fifo.ts";
import { failsOnGoShim } from "../harness/runtime.ts";
import { refusal, type ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
const runtime = new CriuRuntime(place.directory);
after(() => place.close());

const SPEC = { args: ["sleep", "1000"] };
const standIn = { options: { binaryName: runtime.program } };
const image = (name: string): string => join(place.directory, `image-${name}`);

async function running(id: string): Promise<ShimClient> {
  const shim = await place.shim(id, SPEC);
  await shim.create(id, place.bundle(id), standIn);
  await shim.start(id);
  return shim;
}

async function finish(shim: ShimClient, id: string): Promise<void> {
  await place.endContainer(shim, id);
  await place.forget(shim, id);
}

test("a checkpoint leaves the container running, and says so in an event", async () => {
  const shim = await running("plain");
  await shim.checkpoint("plain", image("plain"));
  const work = join(place.bundle("plain"), "criu-work");
  const called = runtime.calledWith("checkpoint").filter((word) => !/(--work-path|criu-work)$/.test(word));
  assert.deepEqual(called.sort(), ["--image-path", "--leave-running", image("plain"), "plain"].sort());
  assert.equal((await shim.state("plain")).status, 2);
  assert.deepEqual(readdirSync(image("plain")), ["pages-1.img"]);
  if (onGo(false, true)) {
    const { body } = await place.events.arrived("/tasks/checkpointed", "plain");
    assert.deepEqual(body, { containerId: "plain", checkpoint: image("plain") });
    assert.ok(!existsSync(work), "criu's work directory is left");
  }
  await finish(shim, "plain");
});

test("every option of a checkpoint reaches the runtime", {
  skip: failsOnGoShim("it has its own order, and passes no mode of cgroups"),
}, async () => {
  const shim = await running("options");
  await shim.checkpoint("options", image("options"), {
    openTcp: true,
    externalUnixSockets: true,
    terminal: true,
    fileLocks: true,
    emptyNamespaces: ["network", "ipc"],
    cgroupsMode: "soft",
    workPath: join(place.directory, "criu-here"),
  });
  assert.deepEqual(runtime.calledWith("checkpoint"), [
    ...["--image-path", image("options"), "--work-path", join(place.directory, "criu-here")],
    ...["--tcp-established", "--ext-unix-sk", "--shell-job", "--file-locks"],
    ...["--empty-ns", "network", "--empty-ns", "ipc", "--manage-cgroups-mode", "soft"],
    ...["--leave-running", "options"],
  ]);
  // A work directory that was asked for is its owner's.
  assert.deepEqual(readdirSync(join(place.directory, "criu-here")), ["dump.log"]);
  await finish(shim, "options");
});

test("the path may stand in the options alone; a checkpoint to nowhere and options of another type are refused", {
  skip: failsOnGoShim("it lets the runtime choose a place"),
}, async () => {
  const shim = await running("path");
  await shim.checkpoint("path", "", { imagePath: image("path") });
  assert.deepEqual(readdirSync(image("path")), ["pages-1.img"]);
  assert.match(await refusal(Code.INVALID_ARGUMENT, shim.checkpoint("path", "")), /no directory/);
  // As a client of containerd 1.x sends them about a runtime of another name than runc's: field 9 is the path.
  const value = Buffer.concat([Buffer.from([(9 << 3) | 2, image("old").length]), Buffer.from(image("old"))]);
  const old = { typeUrl: "containerd.linux.runc.CheckpointOptions", value };
  await shim.task.checkpoint({ id: "path", path: "", options: old });
  assert.deepEqual(readdirSync(image("old")), ["pages-1.img"]);
  const options = { typeUrl: "other.Options", value: new Uint8Array(0) };
  const wrong = shim.task.checkpoint({ id: "path", path: image("path"), options });
  assert.match(await refusal(Code.INVALID_ARGUMENT, wrong), /unknown type other\.Options/);
  await finish(shim, "path");
});

test("a checkpoint with exit ends the container, of a paused one too, as containerd's client has it", async () => {
  for (const paused of [false, true]) {
    const id = paused ? "exits-paused" : "exits";
    const shim = await running(id);
    if (paused) await shim.pause(id);
    await shim.checkpoint(id, image(id), { exit: true });
    assert.ok(!runtime.calledWith("checkpoint").includes("--leave-running"));
    assert.equal((await shim.wait(id)).exitStatus, 137);
    assert.equal((await shim.delete(id)).exitStatus, 137);
    await place.forget(shim, id);
  }
});

test("a restored container is made by Start: its pid, output, execs and end are those of any other", {
  skip: failsOnGoShim("it wants a fifo for each stream"),
}, async () => {
  const first = await running("source");
  await first.checkpoint("source", image("source"), { exit: true });
  await first.wait("source");
  await first.delete("source");
  await place.forget(first, "source");

  const stdout = makeFifo(join(place.directory, "restored-out"));
  const shim = await place.shim("restored", { args: ["sh", "-c", "echo back; sleep 1000"] });
  const restore = { ...standIn, checkpoint: image("source") };
  assert.equal(await shim.create("restored", place.bundle("restored"), { ...restore, stdout }), 0);
  assert.equal((await shim.state("restored")).status, 1);
  assert.ok(!existsSync(`${runtime.program}.restore`), "restored before Start");
  const pid = await shim.start("restored");
  const output = new FifoReader(stdout);
  await output.until("the restored container's output", (text) => text === "back\n");
  const called = runtime.calledWith("restore");
  assert.deepEqual(called.slice(0, 2), ["--image-path", image("source")]);
  for (const flag of ["--file-locks", "--detach", "--pid-file", "--bundle"])
    assert.ok(called.includes(flag), flag);
  assert.equal(called.at(-1), "restored");
  assert.deepEqual(await shim.state("restored").then((state) => [state.status, state.pid]), [2, pid]);
  assert.equal(Number(readFileSync(join(place.bundle("restored"), "init.pid"), "utf8")), pid);
  await shim.exec("restored", "e", ["sh", "-c", "exit 5"]);
  await shim.start("restored", "e");
  assert.equal((await shim.wait("restored", "e")).exitStatus, 5);
  await shim.kill("restored", 9);
  assert.equal((await shim.wait("restored")).exitStatus, 137);
  await shim.delete("restored");
  await place.events.arrived("/tasks/delete", "restored");
  const created = place.events.all.find(
    ({ topic, body }) => topic === "/tasks/create" && body.containerId === "restored",
  );
  assert.deepEqual([created?.body.checkpoint, created?.body.pid], [image("source"), 0]);
  assert.deepEqual(
    place.events.order("restored").filter((event) => !event.includes("exec") && event !== "exit e"),
    ["create", "start", "exit", "delete"],
  );
  output.socket.destroy();
  await place.forget(shim, "restored");
});

test("a restored container has its terminal, with the size that was known before", {
  skip: failsOnGoShim("a size before Start is an error"),
}, async () => {
  const source = await running("tty-source");
  await source.checkpoint("tty-source", image("tty"));
  await finish(source, "tty-source");
  const stdout = makeFifo(join(place.directory, "tty-out"));
  const spec = {
    args: ["sh", "-c", "while ! stty size | grep -q '33 101'; do sleep 0.1; done; stty size; sleep 1000"],
  };
  const shim = await place.shim("tty", { ...spec, terminal: true });
  await shim.create("tty", place.bundle("tty"), {
    ...standIn,
    checkpoint: image("tty"),
    stdout,
    terminal: true,
  });
  await shim.resize("tty", 101, 33);
  await shim.start("tty");
  const output = new FifoReader(stdout);
  await output.until("the terminal's size", (text) => text.includes("33 101"));
  output.socket.destroy();
  await finish(shim, "tty");
});

test("the checkpoint may stand in the options alone, as from a client whose daemon does not know the runtime", {
  skip: failsOnGoShim("it leaves that to the daemon"),
}, async () => {
  const shim = await place.shim("by-options", SPEC);
  const options = { binaryName: runtime.program, criuImagePath: image("plain") };
  assert.equal(await shim.create("by-options", place.bundle("by-options"), { options }), 0);
  await shim.start("by-options");
  assert.equal(runtime.calledWith("restore")[1], image("plain"));
  await finish(shim, "by-options");
});

test("before it is restored, a container can be neither killed nor paused, and is deleted without a trace", {
  skip: failsOnGoShim("its errors have no codes"),
}, async () => {
  const shim = await place.shim("never", SPEC);
  await shim.create("never", place.bundle("never"), { ...standIn, checkpoint: image("never") });
  await refusal(Code.FAILED_PRECONDITION, shim.kill("never", 9));
  await refusal(Code.FAILED_PRECONDITION, shim.pause("never"));
  await refusal(Code.FAILED_PRECONDITION, shim.checkpoint("never", image("never")));
  const waiting = assert.rejects(shim.wait("never"), /deleted before it ran/);
  assert.deepEqual(await shim.delete("never").then(({ pid, exitStatus }) => [pid, exitStatus]), [0, 0]);
  await waiting;
  await place.forget(shim, "never");
});

test("a checkpoint that fails is told in the runtime's words, criu's log stays, and the container runs on", {
  skip: failsOnGoShim("it takes only the first line of what go-runc says"),
}, async () => {
  const shim = await running("fails");
  runtime.fail("criu failed: type NOTIFY errno 0");
  const message = await refusal(Code.UNKNOWN, shim.checkpoint("fails", image("fails")));
  const log = join(place.bundle("fails"), "criu-dump.log");
  assert.equal(message, `OCI runtime checkpoint failed: criu failed: type NOTIFY errno 0 path= ${log}`);
  assert.equal(readFileSync(log, "utf8"), "criu said why\n");
  assert.ok(!existsSync(join(place.bundle("fails"), "criu-work")));
  assert.equal((await shim.state("fails")).status, 2);
  runtime.fail(undefined);
  await shim.checkpoint("fails", image("fails"));
  await finish(shim, "fails");
});

test("a restore that fails leaves the container created: it can be tried again", {
  skip: failsOnGoShim("it tells only of a missing log"),
}, async () => {
  const shim = await place.shim("again", SPEC);
  await shim.create("again", place.bundle("again"), {
    options: { binaryName: runtime.program, criuWorkPath: join(place.directory, "criu-again") },
    checkpoint: image("plain"),
    parentCheckpoint: image("parent"),
  });
  runtime.fail("criu failed: type RESTORE errno 2");
  const message = await refusal(Code.UNKNOWN, shim.start("again"));
  const log = join(place.directory, "criu-again/restore.log");
  assert.equal(message, `OCI runtime restore failed: criu failed: type RESTORE errno 2 path= ${log}`);
  const called = runtime.calledWith("restore");
  assert.equal(called[called.indexOf("--parent-path") + 1], image("parent"));
  assert.equal((await shim.state("again")).status, 1);
  runtime.fail(undefined);
  await shim.start("again");
  assert.equal((await shim.state("again")).status, 2);
  await finish(shim, "again");
});

test("a host without criu is told so, in both directions", {
  skip: failsOnGoShim("it passes on what runc says"),
}, async () => {
  const shim = await running("without");
  const words = /needs criu, which this host has not: .*executable file not found in \$PATH/;
  runtime.fail('CRIU version check failed: exec: \\"criu\\": executable file not found in $PATH', false);
  assert.match(await refusal(Code.UNIMPLEMENTED, shim.checkpoint("without", image("without"))), words);
  assert.equal((await shim.state("without")).status, 2);
  await finish(shim, "without");
  const other = await place.shim("without-2", SPEC);
  await other.create("without-2", place.bundle("without-2"), { ...standIn, checkpoint: image("without") });
  assert.match(await refusal(Code.UNIMPLEMENTED, other.start("without-2")), words);
  runtime.fail(undefined);
  await other.delete("without-2");
  await place.forget(other, "without-2");
});

test("runc without criu on this host is refused the same way", {
  skip: criuPath === undefined ? failsOnGoShim("it passes on what runc says") : "criu is here",
}, async () => {
  const shim = await place.shim("runc", SPEC);
  await shim.create("runc", place.bundle("runc"));
  await shim.start("runc");
  const refused = await refusal(Code.UNIMPLEMENTED, shim.checkpoint("runc", image("runc")));
  assert.match(refused, /checkpoint needs criu/);
  assert.equal((await shim.state("runc")).status, 2);
  await finish(shim, "runc");
});

/** For the `skip` of a test of a runtime with criu itself. */
function lacksCriu(binary: string): string | false {
  if (criuPath === undefined) return "there is no criu on this host";
  const { status, stdout } = spawnSync(binary, ["--version"], { encoding: "utf8" });
  if (status !== 0) return `${binary} is not installed`;
  return binary === "crun" && !stdout.includes("+CRIU") ? "this crun is built without criu" : false;
}

// crun must not see the second hierarchy of a hybrid host, which it takes for one of version 2.
const UNIFIED = "/sys/fs/cgroup/unified";
const forCrun = existsSync(UNIFIED)
  ? { wrapper: ["unshare", "--mount", "sh", "-c", `umount ${UNIFIED} && exec "$@"`, "sh"] }
  : {};

const RUNS = [
  { binary: "runc", terminal: false },
  { binary: "crun", terminal: false },
  { binary: "runc", terminal: true },
];
for (const { binary, terminal } of RUNS) {
  const name = terminal ? `${binary}, with a terminal` : binary;
  test(`criu itself, by ${name}: a container goes on where it was, in another shim`, {
    skip: lacksCriu(binary),
  }, async () => {
    // What it has counted is in its memory alone.
    const args = ["sh", "-c", "n=0; while echo $n; do n=$((n + 1)); sleep 0.05; done"];
    const options = { binaryName: binary };
    const opened = async (
      id: string,
      restore: { checkpoint?: string },
    ): Promise<[ShimClient, FifoReader]> => {
      const stdout = makeFifo(join(place.directory, `${id}-out`));
      const shim = await place.shim(id, { args, terminal }, binary === "crun" ? forCrun : {});
      await shim.create(id, place.bundle(id), { stdout, terminal, options, ...restore });
      await shim.start(id);
      return [shim, new FifoReader(stdout)];
    };
    const id = terminal ? `${binary}-tty` : binary;
    const [before, after] = [`${id}-counts`, `${id}-goes-on`];
    const [first, counted] = await opened(before, {});
    await counted.until("a number", (text) => /\n20\r?\n/.test(text));
    await first.checkpoint(before, image(before), { exit: true });
    assert.equal((await first.wait(before)).exitStatus, 137);
    await first.delete(before);
    await counted.ended;
    const last = Number(counted.text.trimEnd().split("\n").at(-1));
    await place.forget(first, before);

    const [second, goesOn] = await opened(after, { checkpoint: image(before) });
    const text = await goesOn.until("the next numbers", (read) => read.split("\n").length > 5);
    assert.equal(Number(text.split("\n")[0]), last + 1);
    goesOn.socket.destroy();
    await finish(second, after);
  });
}
