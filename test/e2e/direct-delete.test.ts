// `delete`, which the daemon runs when a shim is dead: it cleans up whatever it finds, and says how the container ended if that can be known.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { DeleteResponse } from "../../src/api/generated/task.ts";
import { run } from "../harness/command.ts";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { makeFifo } from "../harness/fifo.ts";
import { killForGood } from "../harness/keeper.ts";
import { mountsBelow, shimSocket } from "../harness/leftovers.ts";
import { inParallel } from "../harness/parallel.ts";
import { isRunning, parentOf, processInfo } from "../harness/processes.ts";
import { failsOnGoShim, isSanitizerBuild } from "../harness/runtime.ts";
import { ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
after(() => place.close());

const notOurs = failsOnGoShim("its files are others");

/** A container in a pod, with a root that is mounted from the user's own files. */
async function createIn(shim: ShimClient, id: string): Promise<void> {
  const rootfs = [{ type: "bind", source: place.rootfs, target: "", options: ["rbind", "rw"] }];
  await shim.create(id, place.bundle(id), { rootfs });
}

function podSpec(id: string): Parameters<Playground["shim"]>[1] {
  const annotations = { "io.kubernetes.cri.sandbox-id": "pod" };
  return { args: ["sleep", "1000"], annotations, rootfs: join(place.bundle(id), "rootfs") };
}

function replace(path: string, put: (path: string) => void): void {
  rmSync(path, { force: true, recursive: true });
  put(path);
}

const text =
  (content: string) =>
  (path: string): void =>
    writeFileSync(path, content);
const kinds: Record<string, (path: string) => void> = {
  absent: () => {},
  empty: text(""),
  "17 MB": (path) => writeFileSync(path, "x".repeat(17 << 20)),
  "not UTF-8": (path) => writeFileSync(path, new Uint8Array([0xff, 0xfe, 0x00, 0x80])),
  directory: (path) => mkdirSync(path),
  fifo: (path) => void makeFifo(path),
  "dangling link": (path) => symlinkSync("/nowhere/at/all", path),
  "link without an end": (path) => symlinkSync("/dev/zero", path),
  "link to itself": (path) => symlinkSync(path, path),
};
const runtime = { binary: "runc", root: "/run/containerd/runc", systemdCgroup: false };
const journals: Record<string, string> = {
  null: "null",
  "a number": "17",
  "a list": "[[]]",
  "cut short": '{"version":1,"runtime":{"bin',
  nested: "[".repeat(30_000),
  "nothing but its version": '{"version":1}',
  "another version": JSON.stringify({ version: 99, runtime, pid: 1 }),
  "no time of exit": JSON.stringify({ version: 1, runtime, pid: 1, exit: { status: 3 } }),
  "no status": JSON.stringify({ version: 1, runtime, pid: 1, exit: { at: "5" } }),
  "exit null": JSON.stringify({ version: 1, runtime, pid: 1, exit: null }),
  "time not a number": JSON.stringify({ version: 1, runtime, pid: 1, exit: { status: 3, at: "soon" } }),
  "time of another type": JSON.stringify({ version: 1, runtime, pid: 1, exit: { status: 3, at: [1] } }),
  "huge time": JSON.stringify({ version: 1, runtime, pid: 1, exit: { status: 3, at: "9".repeat(400) } }),
  "negative time": JSON.stringify({ version: 1, runtime, pid: 1, exit: { status: 3, at: "-5" } }),
  "huge status": JSON.stringify({ version: 1, runtime, pid: 1, exit: { status: 1e300, at: "5" } }),
  "negative pid": JSON.stringify({ version: 1, runtime, pid: -4 }),
  "huge pid": '{"version":1,"pid":18446744073709551615,"runtime":null}',
  "pid of another type": JSON.stringify({ version: 1, runtime, pid: "x" }),
  "runtime null": JSON.stringify({ version: 1, runtime: null, pid: 1 }),
  "runtime of another type": JSON.stringify({ version: 1, runtime: "runc", pid: 1 }),
  "runtime of numbers": JSON.stringify({ version: 1, runtime: { binary: 5, root: {} }, pid: 1 }),
  "a root with a NUL": JSON.stringify({ version: 1, runtime: { ...runtime, root: "/run\0" }, pid: 1 }),
  "a relative root": JSON.stringify({ version: 1, runtime: { ...runtime, root: "runc" }, pid: 1 }),
};

const cases: Record<string, (bundle: string) => void> = {};
for (const [name, put] of Object.entries(kinds)) {
  for (const file of ["holdfast.state", "holdfast.crash", "init.pid", "address"]) {
    cases[`${file}: ${name}`] = (bundle) => replace(join(bundle, file), put);
  }
}
for (const [name, content] of Object.entries(journals)) {
  cases[`holdfast.state: ${name}`] = (bundle) => replace(join(bundle, "holdfast.state"), text(content));
}
// Without a journal it is the other shim's files that name the runtime.
const otherKinds = {
  ...kinds,
  null: text("null"),
  "cut short": text('{"root":"/run'),
  "of numbers": text('{"root":5,"binary_name":[]}'),
};
for (const [name, put] of Object.entries(otherKinds)) {
  cases[`no journal, options.json: ${name}`] = (bundle) => {
    rmSync(join(bundle, "holdfast.state"));
    replace(join(bundle, "options.json"), put);
  };
}
for (const name of ["directory", "17 MB", "dangling link"]) {
  cases[`no journal, runtime: ${name}`] = (bundle) => {
    rmSync(join(bundle, "holdfast.state"));
    replace(join(bundle, "runtime"), kinds[name] ?? (() => {}));
  };
}
// Without an address of the shim's own it is the daemon's file that names the socket.
for (const [name, put] of Object.entries({
  ...kinds,
  null: text("null"),
  "cut short": text('{"address":"unix:///run'),
  "of numbers": text('{"version":3,"address":5}'),
})) {
  cases[`no address, bootstrap.json: ${name}`] = (bundle) => {
    rmSync(join(bundle, "address"), { force: true });
    replace(join(bundle, "bootstrap.json"), put);
  };
}
cases["all of them directories"] = (bundle) => {
  for (const file of ["holdfast.state", "holdfast.crash", "init.pid", "address"]) {
    replace(join(bundle, file), (path) => mkdirSync(path));
  }
};

test("whatever stands where a dead shim's files were, all that the container held is freed", {
  skip: notOurs,
}, async () => {
  // Each needs a container: of the slow build, a choice.
  const names = Object.keys(cases).filter((_, index) => !isSanitizerBuild || index % 5 === 0);
  const idOf = (name: string): string => `odd-${names.indexOf(name)}`;
  for (const name of names) place.makeBundle(idOf(name), podSpec(idOf(name)));
  const [first = ""] = names;
  place.noteGroup("pod");
  const shim = await ShimClient.connect(await place.start(idOf(first)));
  const { shimPid } = await shim.connect(idOf(first));
  const pids = new Map<string, number>();
  await inParallel(3, names, async (name) => {
    await createIn(shim, idOf(name));
    pids.set(name, (await shim.state(idOf(name))).pid);
  });
  killForGood(shimPid);
  await eventually("the shim to end", () => !isRunning(shimPid));
  shim.close();
  await inParallel(3, names, async (name) => {
    const id = idOf(name);
    cases[name]?.(place.bundle(id));
    const output = await run([place.binary, ...place.flags(id), "-bundle", place.bundle(id), "delete"], {
      cwd: place.bundle(id),
    });
    assert.equal(output.status, 0, `${name}: ${output.stderr}`);
    // What cannot be understood is passed over, or complained about in words of ours; the engine's tell of a decoder that stumbles.
    assert.doesNotMatch(output.stderr, /cannot (?:read|convert)|not a function|not iterable/, name);
    const kind = /^holdfast.state: (?:.* )?(fifo|link|directory)\b/.exec(name)?.[1];
    if (kind !== undefined) assert.match(output.stderr, new RegExp(`is a \\w*${kind}`), name);
    assert.ok(!existsSync(place.runtimeState(id)), `${name}: runtime state\n${output.stderr}`);
    assert.deepEqual(mountsBelow(place.bundle(id)), [], name);
    await eventually(`the init of "${name}" to end`, () => !isRunning(pids.get(name) ?? 0));
  });
  assert.ok(existsSync(join(place.rootfs, "bin/busybox")), "the user's files are gone");
  for (const name of names) await place.removeBundle(idOf(name));
  rmSync(shimSocket(place.address, place.namespace, "pod"), { force: true });
});

test("the status of an exit is kept, also where its time cannot be read", { skip: notOurs }, async () => {
  const bundle = place.makeBundle("kept", { args: ["true"] });
  const answers: Record<string, unknown> = {
    plain: { status: 3, at: "1700000000000000000" },
    "without a time": { status: 3 },
    "with an odd time": { status: 3, at: "soon" },
  };
  for (const exit of Object.values(answers)) {
    writeFileSync(join(bundle, "holdfast.state"), JSON.stringify({ version: 1, runtime, pid: 77, exit }));
    const output = execFileSync(place.binary, [...place.flags("kept"), "-bundle", bundle, "delete"]);
    const { pid, exitStatus, exitedAt } = DeleteResponse.decode(output);
    assert.deepEqual([pid, exitStatus], [77, 3]);
    assert.ok(exitedAt !== undefined);
  }
  await place.removeBundle("kept");
});

test("a bundle without our files, as of a pod's later member or another shim's, is no reason to complain", {
  skip: notOurs,
}, async () => {
  place.makeBundle("foreign", { args: ["true"] });
  const output = await place.delete("foreign");
  assert.deepEqual([output.status, output.stderr], [0, ""]);
  await place.removeBundle("foreign");
});

test("a killed shim's root is unmounted, however often something was mounted there, and the user's files stay", async () => {
  const spec = { args: ["sleep", "1000"], rootfs: join(place.bundle("stack"), "rootfs") };
  const shim = await place.shim("stack", spec);
  const files = join(place.directory, "users-files");
  mkdirSync(files);
  writeFileSync(join(files, "precious"), "1");
  const bind = { type: "bind", target: "" };
  await shim.create("stack", place.bundle("stack"), {
    rootfs: [
      { ...bind, source: files, options: ["rbind", "rw"] },
      { ...bind, source: place.rootfs, options: ["rbind", "ro"] },
    ],
  });
  const rootfs = join(place.bundle("stack"), "rootfs");
  assert.equal(mountsBelow(place.bundle("stack")).filter((point) => point === rootfs).length, 2);
  assert.throws(() => writeFileSync(join(rootfs, "written"), "1"), /EROFS/, "the bind is not read-only");
  const { shimPid } = await shim.connect("stack");
  killForGood(shimPid);
  await eventually("the shim to end", () => !isRunning(shimPid));
  shim.close();
  const output = await place.delete("stack");
  assert.deepEqual([output.status, output.stderr], [0, ""]);
  assert.deepEqual(mountsBelow(place.bundle("stack")), []);
  await place.removeBundle("stack");
  assert.equal(readFileSync(join(files, "precious"), "utf8"), "1");
  assert.ok(existsSync(join(place.rootfs, "bin/busybox")));
});

test("the socket of a group whose shim lives on is kept, also while that shim stands still", async () => {
  const annotations = { "io.kubernetes.cri.sandbox-id": "group" };
  place.noteGroup("group");
  const shim = await place.shim("one", { args: ["sleep", "1000"], annotations });
  await shim.create("one", place.bundle("one"));
  place.makeBundle("two", { args: ["sleep", "1000"], annotations });
  await place.start("two");
  const socket = shimSocket(place.address, place.namespace, "group");
  const { shimPid } = await shim.connect("one");
  assert.equal((await place.delete("two")).status, 0);
  assert.ok(existsSync(socket));
  process.kill(shimPid, "SIGSTOP");
  assert.equal((await place.delete("two")).status, 0);
  process.kill(shimPid, "SIGCONT");
  assert.ok(existsSync(socket));
  await place.endContainer(shim, "one");
  await place.removeBundle("two");
  await place.forget(shim, "one");
});

test("the socket of a shim that is about to die is removed, though its listener still answers", {
  skip: notOurs,
}, async () => {
  // A process that was killed is so for some milliseconds: its connections have ended, its listener has not.
  const path = join(place.directory, "dying");
  const server = createServer((socket) => {
    socket.destroy();
    server.close();
  });
  await new Promise<void>((done) => server.listen(path, done));
  // What a dying process does not do: Node removes the file of a server that it closes.
  execFileSync("ln", [path, `${path}-link`]);
  const bundle = place.makeBundle("dying", { args: ["true"] });
  writeFileSync(join(bundle, "address"), `unix://${path}-link`);
  const output = await place.delete("dying");
  assert.deepEqual([output.status, output.stderr], [0, ""]);
  assert.ok(!existsSync(`${path}-link`));
  await place.removeBundle("dying");
});

test("the socket of a dead shim that containerd alone has noted is removed, and one that is served is not", {
  skip: notOurs,
}, async () => {
  const path = join(place.directory, "noted");
  const server = createServer((socket) => socket.on("error", () => {}).resume());
  await new Promise<void>((done) => server.listen(path, done));
  const bundle = place.makeBundle("noted", { args: ["true"] });
  const bootstrap = { version: 3, address: `unix://${path}-link`, protocol: "ttrpc" };
  writeFileSync(join(bundle, "bootstrap.json"), JSON.stringify(bootstrap));
  // Node removes the file of a server that it closes.
  execFileSync("ln", [path, `${path}-link`]);
  const served = await place.delete("noted");
  assert.deepEqual([served.status, served.stderr, existsSync(`${path}-link`)], [0, "", true]);
  await new Promise((done) => server.close(done));
  const dead = await place.delete("noted");
  assert.deepEqual([dead.status, dead.stderr, existsSync(`${path}-link`)], [0, "", false]);
  await place.removeBundle("noted");
});

test("whoever has an answer, be it that it knows no such call, is alive, and is not asked again", {
  skip: notOurs,
}, async () => {
  const path = join(place.directory, "answering");
  let asked = 0;
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (request) => {
      asked++;
      // ttrpc: the length, the request's stream, a response without flags, and a status of code 12.
      socket.write(Buffer.concat([Buffer.from([0, 0, 0, 4]), request.subarray(4, 8), Buffer.from([2, 0])]));
      socket.write(Buffer.from([0x0a, 0x02, 0x08, 0x0c]));
    });
  });
  await new Promise<void>((done) => server.listen(path, done));
  const bundle = place.makeBundle("answering", { args: ["true"] });
  writeFileSync(join(bundle, "address"), `unix://${path}`);
  const output = await place.delete("answering");
  const isKept = existsSync(path);
  server.close();
  assert.deepEqual([output.status, output.stderr, asked, isKept], [0, "", 1, true]);
  await place.removeBundle("answering");
});

test("a file of the user's that an address names is not removed", { skip: notOurs }, async () => {
  const path = join(place.directory, "not-a-socket");
  writeFileSync(path, "1");
  const bundle = place.makeBundle("named", { args: ["true"] });
  writeFileSync(join(bundle, "address"), `unix://${path}`);
  assert.equal((await place.delete("named")).status, 0);
  assert.ok(existsSync(path));
  await place.removeBundle("named");
});

test("a rootfs that is a link is not followed", { skip: notOurs }, async () => {
  const mounted = join(place.directory, "mounted");
  mkdirSync(mounted);
  execFileSync("mount", ["--bind", place.rootfs, mounted]);
  const bundle = place.makeBundle("linked", { args: ["true"] });
  replace(join(bundle, "rootfs"), (path) => symlinkSync(mounted, path));
  assert.equal((await place.delete("linked")).status, 0);
  assert.ok(mountsBelow(place.directory).includes(mounted), "what the link leads to was unmounted");
  execFileSync("umount", [mounted]);
  await place.removeBundle("linked");
});

/** Kills a shim, and whoever would start it again. */
function endForGood(shim: number): void {
  process.kill(shim, "SIGSTOP");
  const keeper = parentOf(shim);
  if (processInfo(keeper)?.commandLine.startsWith("holdfast-keeper")) process.kill(keeper, "SIGKILL");
  process.kill(shim, "SIGKILL");
}

test("a runtime that is killed in the middle of cleaning up is run once more, by delete and by the shim", {
  skip: notOurs,
}, async () => {
  const program = join(place.directory, "dying-runc");
  const dies = `case " $* " in *" delete "*) [ -e "$0.died" ] || { touch "$0.died"; kill -9 $$; } ;; esac`;
  writeFileSync(program, `#!/bin/sh\n${dies}\nexec /usr/sbin/runc "$@"\n`, { mode: 0o755 });
  for (const shimLives of [false, true]) {
    const id = `dies-${shimLives}`;
    rmSync(`${program}.died`, { force: true });
    const shim = await place.shim(id, { args: ["sleep", "1000"] });
    await shim.create(id, place.bundle(id), { options: { binaryName: program } });
    await shim.start(id);
    if (shimLives) await place.endContainer(shim, id);
    else {
      const { shimPid } = await shim.connect(id);
      endForGood(shimPid);
      await eventually("the shim to end", () => !isRunning(shimPid));
      const output = await place.delete(id);
      assert.deepEqual([output.status, output.stderr], [0, ""]);
    }
    assert.ok(existsSync(`${program}.died`));
    assert.equal(existsSync(place.runtimeState(id)), false);
    await place.forget(shim, id);
  }
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
