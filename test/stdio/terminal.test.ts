// Terminals: they live as long as their process, whoever holds them meanwhile, and go with it, whoever holds them then.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Code } from "../../src/ttrpc/status.ts";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { openFiles } from "../harness/processes.ts";
import { refusal, ShimClient } from "../harness/shim-client.ts";
import { cpuTicks, FifoWriter, fifoIn, Running, reading, SLEEPS } from "./running.ts";

const place = await Playground.create();
after(() => place.close());

const inContainer = (name: string): string => join(place.rootfs, "tmp", name);

/** Closes its terminal, waits for a file, and opens it again. */
const leaves = (file: string): string =>
  `exec 0<&- 1>&- 2>&-; until [ -e /tmp/${file} ]; do sleep 0.05; done; exec 0</dev/console 1>/dev/console 2>&1`;

test("a terminal that nobody holds for a while goes on, with all that was typed meanwhile", async () => {
  const program = `echo first; ${leaves("again")}; echo second; read line; echo "got $line"; ${leaves("last")}; echo third; read line; echo "got $line"; exit 5`;
  const stdin = fifoIn(place, "in");
  const stdout = fifoIn(place, "out");
  const spec = { args: ["sh", "-c", program], terminal: true };
  const running = await Running.start(place, "reopens", spec, { stdin, stdout, terminal: true });
  const output = reading(stdout);
  const keys = new FifoWriter(stdin);
  const { pid } = await running.shim.state("reopens");
  const closed = (): Promise<unknown> =>
    eventually("the terminal to be closed", () => !openFiles(pid).some((path) => /pts|console/.test(path)));
  await output.until("first", (text) => text.includes("first"));
  await closed();
  keys.write("typed\n");
  writeFileSync(inContainer("again"), "");
  await output.until("the first answer", (text) => text.includes("got typed"));
  await closed();
  keys.write("more\n");
  writeFileSync(inContainer("last"), "");
  await output.until("the second answer", (text) => text.includes("got more"));
  assert.equal((await running.shim.wait("reopens")).exitStatus, 5);
  await running.shim.delete("reopens");
  await output.ended;
  keys.close();
  await place.forget(running.shim, "reopens");
});

test("a terminal that nobody holds costs no work", async () => {
  const stdin = fifoIn(place, "in");
  const stdout = fifoIn(place, "out");
  const spec = { args: ["sh", "-c", `echo ready; ${leaves("never")}`], terminal: true };
  const running = await Running.start(place, "idle", spec, { stdin, stdout, terminal: true });
  const output = reading(stdout);
  await output.until("its word", (text) => text.includes("ready"));
  const { pid } = await running.shim.state("idle");
  await eventually("the terminal to be closed", () => !openFiles(pid).some((path) => /pts/.test(path)));
  const shim = await running.shimPid();
  const before = cpuTicks(shim);
  await new Promise((next) => setTimeout(next, 1000));
  // A loop that is woken at every turn uses all of the second.
  assert.ok(cpuTicks(shim) - before < 20, `${cpuTicks(shim) - before} ticks`);
  output.close();
  await running.end();
});

test("whoever holds the terminal of an ended process is not waited for, and what was written is all there", async () => {
  const running = await Running.start(place, "held-tty");
  const stdout = fifoIn(place, "out");
  // A session of its own: the end of the first one does not hang it up. It ends by itself, and then leaves a mark.
  const late = "(setsid sh -c 'sleep 9; touch /tmp/late' &) ; seq 1 3000; exit 3";
  await running.exec("e", ["sh", "-c", late], { stdout, terminal: true });
  const output = reading(stdout);
  assert.equal((await running.shim.wait("held-tty", "e")).exitStatus, 3);
  await running.shim.delete("held-tty", "e");
  assert.equal(existsSync(inContainer("late")), false, "Delete has waited for the other process");
  await output.ended;
  const lines = output.text.replaceAll("\r", "").trimEnd().split("\n");
  assert.deepEqual(
    lines,
    Array.from({ length: 3000 }, (_, n) => String(n + 1)),
  );
  await running.end();
});

test("what is typed to a process that has ended makes no work", async () => {
  const running = await Running.start(place, "typed-late");
  const stdin = fifoIn(place, "in");
  await running.exec("e", ["true"], { stdin, stdout: fifoIn(place, "out"), terminal: true });
  await running.shim.wait("typed-late", "e");
  const keys = new FifoWriter(stdin);
  keys.write("x".repeat(60_000));
  const shim = await running.shimPid();
  const before = cpuTicks(shim);
  await new Promise((next) => setTimeout(next, 1000));
  assert.ok(cpuTicks(shim) - before < 20, `${cpuTicks(shim) - before} ticks`);
  keys.close();
  await running.shim.delete("typed-late", "e");
  await running.end();
});

test("end of input is told to a program on a terminal, also when it comes before Start", async () => {
  const running = await Running.start(place, "veof");
  for (const early of [true, false]) {
    const stdin = fifoIn(place, "in");
    const stdout = fifoIn(place, "out");
    await running.shim.exec("veof", `e-${early}`, ["sh", "-c", "echo ready; cat; echo over; exit 4"], {
      stdin,
      stdout,
      terminal: true,
    });
    if (early) await running.shim.closeStdin("veof", `e-${early}`);
    await running.shim.start("veof", `e-${early}`);
    const output = reading(stdout);
    await output.until("its word", (text) => text.includes("ready"));
    if (!early) {
      const keys = new FifoWriter(stdin);
      keys.write("a line\nhalf a line");
      await output.until("the line", (text) => text.includes("a line\r\nhalf a linea line"));
      keys.close();
      await running.shim.closeStdin("veof", `e-${early}`);
    }
    await output.until("the end", (text) => text.includes("over"));
    assert.equal((await running.shim.wait("veof", `e-${early}`)).exitStatus, 4);
    await running.shim.delete("veof", `e-${early}`);
    await output.ended;
  }
  await running.end();
});

test("an exec that was resized before its start has that size from its first moment", async () => {
  const running = await Running.start(place, "early-size");
  const stdout = fifoIn(place, "out");
  await running.shim.exec("early-size", "e", ["stty", "size"], { stdout, terminal: true });
  await running.shim.resize("early-size", 132, 43, "e");
  await running.shim.start("early-size", "e");
  const output = reading(stdout);
  await running.shim.wait("early-size", "e");
  await running.shim.delete("early-size", "e");
  await output.ended;
  assert.equal(output.text, "43 132\r\n");
  await running.end();
});

test("an exec that is resized while the runtime makes its terminal has that size", async () => {
  const runtime = join(place.directory, "late-terminal");
  const [begun, go] = ["late-begun", "late-go"].map((name) => join(place.directory, name)) as [
    string,
    string,
  ];
  const script = `#!/bin/sh
case " $* " in *" exec "*) >${begun}; until [ -e ${go} ]; do sleep 0.05; done;; esac
exec runc "$@"
`;
  writeFileSync(runtime, script, { mode: 0o755 });
  const running = await Running.start(place, "late-size", undefined, { options: { binaryName: runtime } });
  const stdout = fifoIn(place, "out");
  // The terminal is there before its size is: the program waits for it, for a while.
  const wait =
    "n=0; until stty size | grep -q 22 || [ $n = 200 ]; do sleep 0.05; n=$((n + 1)); done 2>/dev/null";
  await running.shim.exec("late-size", "e", ["sh", "-c", `${wait}; stty size`], { stdout, terminal: true });
  const output = reading(stdout);
  const start = running.shim.start("late-size", "e");
  await eventually("the runtime to run", () => existsSync(begun));
  await running.shim.resize("late-size", 111, 22, "e");
  writeFileSync(go, "");
  await start;
  await running.shim.wait("late-size", "e");
  await running.shim.delete("late-size", "e");
  await output.ended;
  assert.equal(output.text, "22 111\r\n");
  await running.end();
});

test("no console socket stays in the bundle, whether the runtime succeeds or fails", async () => {
  const sockets = (id: string): string[] =>
    readdirSync(place.bundle(id)).filter((name) => name.startsWith("console"));
  const stdout = fifoIn(place, "out");
  const spec = { args: ["sleep", "100000"], terminal: true };
  const running = await Running.start(place, "sockets", spec, { stdout, terminal: true });
  assert.deepEqual(sockets("sockets"), []);
  await running.shim.exec("sockets", "bad", ["/not/there"], { stdout, terminal: true });
  await refusal(Code.UNKNOWN, running.shim.start("sockets", "bad"));
  assert.deepEqual(sockets("sockets"), []);
  await running.end();
});

test("an exec that goes with its container while it waits for its terminal leaves nothing that touches others' descriptors", async () => {
  // A runtime that makes a process and never passes its terminal.
  const runtime = join(place.directory, "no-terminal");
  const script = `#!/bin/sh
case " $* " in *" exec "*) ;; *) exec /usr/sbin/runc "$@";; esac
while [ "$1" != --pid-file ]; do shift; done
setsid sleep 100000 </dev/null >/dev/null 2>&1 &
echo $! >"$2.new"; mv "$2.new" "$2"; echo $! >${place.directory}/passed-nothing
`;
  writeFileSync(runtime, script, { mode: 0o755 });
  const running = await Running.start(place, "no-tty", undefined, { options: { binaryName: runtime } });
  // Another container keeps the shim.
  place.makeBundle("no-tty-too", SLEEPS);
  await running.shim.create("no-tty-too", place.bundle("no-tty-too"));
  await running.shim.exec("no-tty", "e", ["true"], { stdout: fifoIn(place, "out"), terminal: true });
  const start = running.shim.start("no-tty", "e").catch((error: Error) => error);
  const passed = join(place.directory, "passed-nothing");
  await eventually("the runtime to end", () => existsSync(passed) && readFileSync(passed, "utf8") !== "");
  // Its container goes, and the exec with it.
  await running.shim.kill("no-tty", 9);
  await running.shim.wait("no-tty");
  await running.shim.delete("no-tty");
  // These take the numbers that have become free.
  const others = await Promise.all(
    Array.from({ length: 16 }, () => ShimClient.ofBundle(place.bundle("no-tty"))),
  );
  assert.ok((await start) instanceof Error);
  // The bound that the terminal had, and more.
  await new Promise((next) => setTimeout(next, 10_000));
  for (const other of others) await other.state("no-tty-too");
  for (const other of others) other.close();
  await place.endContainer(running.shim, "no-tty-too");
  await place.removeBundle("no-tty-too");
  await place.forget(running.shim, "no-tty");
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
