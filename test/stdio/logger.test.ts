// Loggers: programs that take a container's output (binary:// and binary-v2://).
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Code } from "../../src/ttrpc/status.ts";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { isRunning, oomScoreOf } from "../harness/processes.ts";
import { refusal, ShimClient } from "../harness/shim-client.ts";
import { Running } from "./running.ts";

const place = await Playground.create();
after(() => place.close());

const READY = "exec 5>&-";

/** A logger that does what the script says; its files are named after it. */
function logger(
  name: string,
  script: string,
): { path: string; file: (what: string) => string; pid: () => Promise<number> } {
  const path = join(place.directory, name);
  const file = (what: string): string => `${path}.${what}`;
  writeFileSync(
    path,
    `#!/bin/sh\nPATH=/bin:/usr/bin\necho $$ >${path}.pid.new; mv ${path}.pid.new ${path}.pid\n${script}\n`,
    {
      mode: 0o755,
    },
  );
  const pid = (): Promise<number> =>
    eventually(`${name} to run`, () => existsSync(file("pid")) && Number(readFileSync(file("pid"), "utf8")));
  return { path, file, pid };
}

/** Writes each stream to a file. */
const keeps = (path: string): string => `cat <&3 >${path}.out & cat <&4 >${path}.err; wait`;

test("a logger has its arguments, its environment and both streams, and Delete waits until all is written", async () => {
  const path = join(place.directory, "plain");
  const { file, pid } = logger(
    "plain",
    `for word; do echo "[$word]"; done >${path}.args; env >${path}.env; ls -l /proc/self/fd >${path}.fds; ${READY}; sleep 1; ${keeps(path)}`,
  );
  const uri = `binary://${path}?id=a%20b&flag&level=x+y`;
  const spec = { args: ["sh", "-c", "echo out; echo err >&2; exit 3"] };
  const running = await Running.start(place, "plain", spec, { stdout: uri, stderr: uri });
  const log = await pid();
  assert.equal((await running.shim.wait("plain")).exitStatus, 3);
  await running.shim.delete("plain");
  assert.equal(readFileSync(file("out"), "utf8"), "out\n");
  assert.equal(readFileSync(file("err"), "utf8"), "err\n");
  assert.equal(readFileSync(file("args"), "utf8"), "[id]\n[a b]\n[flag]\n[level]\n[x y]\n");
  const env = readFileSync(file("env"), "utf8").trim().split("\n");
  const given = env.filter((line) => !/^(PATH|PWD|SHLVL|_|OLDPWD)=/.test(line)).sort();
  assert.deepEqual(given, ["CONTAINER_ID=plain", `CONTAINER_NAMESPACE=${place.namespace}`]);
  await eventually("the logger to be gone", () => !isRunning(log));
  await place.forget(running.shim, "plain");
});

test("a logger has nothing of the shim's: not its OOM score, not its descriptors", async () => {
  const path = join(place.directory, "clean");
  const { pid } = logger("clean", `${READY}; ${keeps(path)}`);
  const running = await Running.start(place, "clean", undefined, { stdout: `binary://${path}` });
  const shim = await running.shimPid();
  assert.notEqual(oomScoreOf(shim), oomScoreOf(process.pid));
  assert.equal(oomScoreOf(await pid()), oomScoreOf(process.pid));
  await running.end();
});

test("a logger of an exec and one of a terminal", async () => {
  const running = await Running.start(place, "execs");
  for (const terminal of [false, true]) {
    const name = `exec-${terminal}`;
    const path = join(place.directory, name);
    const { file } = logger(name, `${READY}; ${keeps(path)}`);
    await running.exec(name, ["sh", "-c", "echo out; exit 2"], { stdout: `binary://${path}`, terminal });
    assert.equal((await running.shim.wait("execs", name)).exitStatus, 2);
    await running.shim.delete("execs", name);
    assert.equal(readFileSync(file("out"), "utf8").replaceAll("\r", ""), "out\n");
  }
  await running.end();
});

test("the process is made only when its logger is ready", async () => {
  for (const scheme of ["binary", "binary-v2"]) {
    const id = `slow-${scheme}`;
    const path = join(place.directory, id);
    const { pid } = logger(id, `until [ -e ${path}.go ]; do sleep 0.05; done; echo x >&5; ${keeps(path)}`);
    place.makeBundle(id, { args: ["true"] });
    const shim = await ShimClient.connect(await place.start(id));
    let created = false;
    const creating = shim.create(id, place.bundle(id), { stdout: `${scheme}://${path}` }).then(() => {
      created = true;
    });
    await pid();
    // Answered behind the Create: it had its turn.
    await refusal(Code.NOT_FOUND, shim.state(id));
    assert.deepEqual([created, existsSync(place.runtimeState(id))], [false, false]);
    writeFileSync(`${path}.go`, "");
    await creating;
    await place.endContainer(shim, id);
    await place.forget(shim, id);
  }
});

test("binary-v2: a logger that ends, or closes the descriptor, without a byte is not ready, and binary: one is", async () => {
  const path = join(place.directory, "mute");
  logger("mute", `${READY}; ${keeps(path)}`);
  const shim = await place.shim("mute", { args: ["true"] });
  const uri = `binary-v2://${path}`;
  const message = await refusal(Code.UNKNOWN, shim.create("mute", place.bundle("mute"), { stdout: uri }));
  assert.match(message, /closed its readiness descriptor before it was ready/);
  assert.equal(existsSync(place.runtimeState("mute")), false);
  await shim.create("mute", place.bundle("mute"), { stdout: `binary://${path}` });
  await place.endContainer(shim, "mute");
  await place.forget(shim, "mute");
});

test("a logger that never says that it is ready fails the Create, and is ended", async () => {
  const { path, pid } = logger("never", "exec sleep 100000");
  const shim = await place.shim("never", { args: ["true"] });
  const uri = `binary://${path}`;
  const message = await refusal(Code.UNKNOWN, shim.create("never", place.bundle("never"), { stdout: uri }));
  assert.match(message, /was not ready within 10000 ms/);
  const helper = await pid();
  await eventually("the logger to be ended", () => !isRunning(helper));
  await place.forget(shim, "never");
});

test("a logger that dies stops nothing: the container writes on, and its output is discarded", async () => {
  const { path, pid } = logger("dies", `${READY}; exec sleep 100000`);
  const program = "head -c 300000 /dev/zero && touch /tmp/wrote-on; exit 6";
  const uri = `binary://${path}`;
  const running = await Running.start(
    place,
    "dies",
    { args: ["sh", "-c", program] },
    { stdout: uri, stderr: uri },
  );
  const helper = await pid();
  await eventually("the logger's program", () =>
    readFileSync(`/proc/${helper}/cmdline`, "utf8").startsWith("sleep"),
  );
  // What it does not take is kept for it.
  assert.equal((await running.shim.state("dies")).status, 2);
  assert.equal(existsSync(join(place.rootfs, "tmp/wrote-on")), false);
  process.kill(helper, "SIGKILL");
  assert.equal((await running.shim.wait("dies")).exitStatus, 6);
  assert.ok(existsSync(join(place.rootfs, "tmp/wrote-on")));
  await running.shim.delete("dies");
  await eventually("the shim to say so", () => place.log.includes("the logging binary takes no more output"));
  await place.forget(running.shim, "dies");
});

test("a logger that hangs, and will not end, ends in bounds with the container", async () => {
  const { path, pid } = logger("hangs", `trap '' TERM; ${READY}; while :; do sleep 0.1; done`);
  const program = "head -c 300000 /dev/zero & sleep 100000";
  const uri = `binary://${path}`;
  const running = await Running.start(
    place,
    "hangs",
    { args: ["sh", "-c", program] },
    { stdout: uri, stderr: uri },
  );
  const helper = await pid();
  await running.shim.kill("hangs", 9);
  assert.equal((await running.shim.wait("hangs")).exitStatus, 137);
  await running.shim.delete("hangs");
  assert.equal(isRunning(helper), false);
  await place.forget(running.shim, "hangs");
});

test("a logger that is asked to end has time to write what it has", async () => {
  const path = join(place.directory, "asked");
  const { file } = logger(
    "asked",
    `trap 'echo asked >${path}.end; exit 0' TERM; ${READY}; while :; do sleep 0.1; done`,
  );
  const running = await Running.start(place, "asked", { args: ["true"] }, { stdout: `binary://${path}` });
  await running.shim.wait("asked");
  await running.shim.delete("asked");
  assert.equal(readFileSync(file("end"), "utf8"), "asked\n");
  await place.forget(running.shim, "asked");
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
