// What a container has of its own must not depend on how its daemon was started: a daemon with unusual values for all that a process inherits, and init
// and exec have what a plain host gives them.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { getPriority } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { run } from "../harness/command.ts";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { FifoReader, makeFifo } from "../harness/fifo.ts";
import { oomScoreOf } from "../harness/processes.ts";
import { failsOnGoShim, isSanitizerBuild } from "../harness/runtime.ts";
import { ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
after(() => place.close());

const REPORT = [
  "grep -E '^(Umask|Cpus_allowed):' /proc/self/status",
  "for name in oom_score_adj coredump_filter timerslack_ns personality; do echo $name $(cat /proc/self/$name); done",
  "echo priority, nice, policy: $(cut -d ' ' -f 18,19,40,41 /proc/self/stat)",
  "ionice",
  "echo descriptors: $(ls /proc/self/fd | wc -l)",
  "env | sort",
  "cat /proc/self/limits",
].join("; ");

/** Everything unusual that a daemon can be without privileges that the machine of the tests may lack. */
const UNUSUAL = [
  "umask 077",
  "ulimit -S -n 600; ulimit -S -s 4096; ulimit -S -p 5000; ulimit -S -f 100000",
  // The sanitizers' shadow is larger.
  isSanitizerBuild ? "" : "ulimit -S -v 90000000",
  "echo 0x7f >/proc/$$/coredump_filter",
  "echo 123456 >/proc/$$/timerslack_ns",
  "echo 77 >/proc/$$/oom_score_adj",
  "exec 7</dev/null",
  "export LISTEN_FDS=1 LISTEN_PID=$$ NOTIFY_SOCKET=/nonexistent LISTEN_FDNAMES=x ODD=1",
  // No exec: the shim asks its parent, the daemon, for its OOM score.
  'setarch -R nice -n 7 ionice -c 2 -n 7 chrt --batch 0 taskset 1 "$@"',
].join("\n");

const SPEC = { args: ["sleep", "1000"] };

/** The report of a process that runs in the container, and of its init. */
async function reports(id: string, start: (id: string) => Promise<string>): Promise<[string, string]> {
  const said = (name: string): string => readFileSync(join(place.directory, name), "utf8");
  place.makeBundle(id, { args: ["sh", "-c", `${REPORT}; exec sleep 1000`] });
  const shim = await ShimClient.connect(await start(id));
  const stdout = (name: string) => ({ stdout: `file://${join(place.directory, name)}` });
  await shim.create(id, place.bundle(id), stdout(`${id}-init`));
  await shim.start(id);
  await shim.exec(id, "e", ["sh", "-c", REPORT], stdout(`${id}-exec`));
  await shim.start(id, "e");
  await shim.wait(id, "e");
  await shim.delete(id, "e");
  // The last line of what it reports.
  await eventually("the init's report", () => said(`${id}-init`).includes("\nMax realtime timeout"));
  await place.endContainer(shim, id);
  await place.forget(shim, id);
  return [said(`${id}-init`), said(`${id}-exec`)];
}

/** The lines that do not come of the host's limits. */
const settings = (report: string): string => report.slice(0, report.indexOf("Limit "));

async function startOddly(id: string): Promise<string> {
  const script = join(place.directory, "odd-start");
  writeFileSync(script, UNUSUAL);
  const env = { TTRPC_ADDRESS: `${place.address}.ttrpc`, NAMESPACE: place.namespace };
  const argv = ["sh", script, place.binary, ...place.flags(id), "start"];
  const output = await run(argv, { cwd: place.bundle(id), stdin: new Uint8Array(0), env });
  assert.deepEqual([output.status, output.stderr], [0, ""]);
  return output.stdout;
}

test("init and exec of a daemon with unusual settings have a plain host's", {
  skip: failsOnGoShim("it hands nearly all of them on"),
}, async () => {
  const [init, exec] = await reports("usual", (id) => place.start(id));
  assert.match(init, /Max open files/);
  const [oddInit, oddExec] = await reports("odd", startOddly);
  assert.equal(oddInit, init);
  assert.equal(oddExec, exec);
});

test("they are what the runtime gives them that is run by hand", {
  skip: failsOnGoShim("see above"),
}, async () => {
  assert.equal(oomScoreOf(process.pid), 0, "the tests are run by a plain host");
  const [, exec] = await reports("shim", (id) => place.start(id));
  const bundle = place.makeBundle("hand", { args: ["sh", "-c", REPORT] });
  // The tests may be run with another priority.
  const plain = ["nice", "-n", String(-getPriority())];
  const runc = ["runc", "--root", join(place.directory, "hand-root"), "run", `${place.namespace}-hand`];
  const byHand = await run([...plain, ...runc], { cwd: bundle });
  assert.equal(byHand.status, 0, byHand.stderr);
  assert.equal(settings(exec), settings(byHand.stdout));
  await place.removeBundle("hand");
});

test("a limit that the container's specification names is the container's", async () => {
  const shim = await place.shim("named", SPEC);
  const path = join(place.bundle("named"), "config.json");
  const spec = JSON.parse(readFileSync(path, "utf8"));
  spec.process.rlimits = [{ type: "RLIMIT_NOFILE", soft: 333, hard: 444 }];
  spec.process.user.umask = 0o77;
  writeFileSync(path, JSON.stringify(spec));
  await shim.create("named", place.bundle("named"));
  const pid = await shim.start("named");
  assert.match(readFileSync(`/proc/${pid}/limits`, "utf8"), /Max open files +333 +444/);
  assert.match(readFileSync(`/proc/${pid}/status`, "utf8"), /Umask:\t0077/);
  await place.endContainer(shim, "named");
  await place.forget(shim, "named");
});

test("a NOTIFY_SOCKET that the container's specification names is the container's, whatever the daemon has of its own", async () => {
  const id = "notifies";
  place.makeBundle(id, { args: ["sh", "-c", "echo $NOTIFY_SOCKET; ls -l $NOTIFY_SOCKET; exec sleep 1000"] });
  const path = join(place.bundle(id), "config.json");
  const spec = JSON.parse(readFileSync(path, "utf8"));
  spec.process.env.push("NOTIFY_SOCKET=/run/its-own");
  // As Podman and Nomad pass a service's socket on: a mount, and its name in the environment.
  const socket = join(place.directory, "its-own");
  const server = createServer().listen(socket);
  await once(server, "listening");
  spec.mounts.push({ destination: "/run/its-own", type: "bind", source: socket, options: ["bind"] });
  writeFileSync(path, JSON.stringify(spec));
  const shim = await ShimClient.connect(await startOddly(id));
  const stdout = makeFifo(join(place.directory, "notifies-out"));
  await shim.create(id, place.bundle(id), { stdout });
  const output = new FifoReader(stdout);
  await shim.start(id);
  const text = await output.until("the socket", (said) => said.split("\n").length > 2);
  assert.match(text, /^\/run\/its-own\ns/);
  await place.endContainer(shim, id);
  await output.ended;
  await place.forget(shim, id);
  server.close();
});

test("a runtime, and so a hook, has nothing of what a service manager says to the daemon alone", {
  skip: failsOnGoShim("it hands all of it on"),
}, async () => {
  const id = "spoken-to";
  const [program, seen] = [join(place.directory, id), join(place.directory, `${id}.env`)];
  writeFileSync(program, `#!/bin/sh\nenv >>${seen}\nexec runc "$@"\n`, { mode: 0o755 });
  // systemd.exec(5): to the processes of a service.
  const said = [
    ...["NOTIFY_SOCKET", "WATCHDOG_USEC", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "FDSTORE"],
    ...["MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE", "CREDENTIALS_DIRECTORY", "LISTEN_FDS"],
  ];
  const env = Object.fromEntries([...said, "HTTPS_PROXY"].map((name) => [name, "1"]));
  const shim = await place.shim(id, SPEC, { env });
  await shim.create(id, place.bundle(id), { options: { binaryName: program } });
  await shim.start(id);
  await place.endContainer(shim, id);
  await place.forget(shim, id);
  const names = new Set(
    readFileSync(seen, "utf8")
      .split("\n")
      .map((line) => line.split("=")[0]),
  );
  assert.deepEqual(
    said.filter((name) => names.has(name)),
    [],
  );
  assert.ok(names.has("HTTPS_PROXY"));
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
