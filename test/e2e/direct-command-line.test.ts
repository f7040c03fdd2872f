// The shim's command line as the daemon uses it: start, delete, -info, -v, what they print, what they refuse, and when the shim ends.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { after, test } from "node:test";
import { RuntimeInfo } from "../../src/api/generated/runtime_info.ts";
import { DeleteResponse } from "../../src/api/generated/task.ts";
import { Code } from "../../src/ttrpc/status.ts";
import { Running, run } from "../harness/command.ts";
import { addressFile, Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { killForGood } from "../harness/keeper.ts";
import { shimSocket } from "../harness/leftovers.ts";
import { isRunning, processesMentioning } from "../harness/processes.ts";
import { failsOnGoShim, isGoShim } from "../harness/runtime.ts";
import { refusal, ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
after(() => place.close());

const SLEEP = { args: ["sleep", "1000"] };

test("start prints the socket's address and nothing else, and the socket is the owner's alone", async () => {
  place.makeBundle("prints", SLEEP);
  const output = await place.invoke([...place.flags("prints"), "start"], place.bundle("prints"));
  const socket = shimSocket(place.address, place.namespace, "prints");
  assert.deepEqual(output, { status: 0, stdout: `unix://${socket}`, stderr: "" });
  assert.equal(addressFile(place.bundle("prints")), `unix://${socket}`);
  const mode = statSync(socket).mode & 0o777;
  assert.equal(mode, 0o600);
  const shim = await ShimClient.connect(output.stdout);
  await place.forget(shim, "prints");
});

test("the shim that start leaves behind leads a session of its own, and holds none of start's pipes", async () => {
  // start() resolves when stdout and stderr have ended: when no process holds them any more.
  const shim = await place.shim("detached", SLEEP);
  const { shimPid } = await shim.connect("detached");
  const [, , group, session] = readFileSync(`/proc/${shimPid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  assert.equal(Number(group), shimPid);
  if (!isGoShim) assert.equal(Number(session), shimPid);
  await place.forget(shim, "detached");
});

test("start for a group whose shim runs prints the same address and starts none", async () => {
  const group = { "io.containerd.runc.v2.group": "shared" };
  place.noteGroup("shared");
  for (const id of ["shared-one", "shared-two"]) place.makeBundle(id, { ...SLEEP, annotations: group });
  const first = await place.start("shared-one");
  const second = await place.start("shared-two");
  assert.equal(first, second);
  assert.equal(first, `unix://${shimSocket(place.address, place.namespace, "shared")}`);
  assert.equal(addressFile(place.bundle("shared-two")), second);
  const shim = await ShimClient.connect(first);
  assert.equal(processesMentioning(place.directory).length, 1);
  await place.forget(shim, "shared-one");
  await place.removeBundle("shared-two");
});

test("start over the socket of a shim that was killed starts a new one", async () => {
  place.makeBundle("stale", SLEEP);
  const address = await place.start("stale");
  const [info] = processesMentioning(`${place.directory}/`);
  assert.ok(info !== undefined);
  process.kill(info.pid, "SIGKILL");
  await eventually("the shim to end", () => !isRunning(info.pid));
  assert.ok(existsSync(address.replace("unix://", "")));
  const again = await place.start("stale");
  assert.equal(again, address);
  const shim = await ShimClient.connect(again);
  await refusal(Code.NOT_FOUND, shim.state("stale"));
  await place.forget(shim, "stale");
});

for (const [flag, words] of [
  ["-namespace", /namespace/],
  ["-id", /id/],
] as const) {
  test(`start without ${flag} fails, says so, and leaves nothing`, {
    skip: flag === "-id" ? failsOnGoShim("it starts a shim for the empty id") : false,
  }, async () => {
    const bundle = place.makeBundle("flagless", SLEEP);
    const flags = place.flags("flagless");
    const index = flags.indexOf(flag);
    const output = await place.invoke([...flags.slice(0, index), ...flags.slice(index + 2), "start"], bundle);
    assert.notEqual(output.status, 0);
    assert.match(output.stdout + output.stderr, words);
    await place.removeBundle("flagless");
    assert.equal(await place.leftovers(), "");
  });
}

test("an unknown flag fails with words, not with a trace", async () => {
  mkdirSync(place.bundle("odd"), { recursive: true });
  const output = await place.invoke(["-nonesuch", "start"], place.bundle("odd"));
  assert.notEqual(output.status, 0);
  assert.match(output.stderr, /nonesuch/);
  await place.removeBundle("odd");
});

test("flags may be given with two dashes and with an equals sign", async () => {
  const bundle = place.makeBundle("dashes", SLEEP);
  const flags = [`--namespace=${place.namespace}`, "--address", place.address, "-id=dashes"];
  const output = await place.invoke([...flags, "-publish-binary", "/usr/bin/containerd", "start"], bundle);
  assert.equal(output.status, 0, output.stderr);
  await place.forget(await ShimClient.connect(output.stdout), "dashes");
});

test("start in a bundle without config.json fails, says so, and leaves nothing", async () => {
  const bundle = place.makeBundle("specless", undefined);
  const output = await place.invoke([...place.flags("specless"), "start"], bundle);
  assert.notEqual(output.status, 0);
  assert.match(output.stdout + output.stderr, /config\.json/);
  await place.removeBundle("specless");
  assert.equal(await place.leftovers(), "");
});

for (const flag of ["-v", "-version", "--version"]) {
  test(`${flag} tells the version in words`, {
    skip: flag === "-v" ? false : failsOnGoShim("it knows -v only"),
  }, async () => {
    const output = await run([place.binary, flag]);
    assert.equal(output.status, 0, output.stderr);
    assert.match(output.stdout, /containerd-shim-\S+:\n {2}Version: +\S+/);
    assert.equal(output.stderr, "");
  });
}

for (const path of [process.env.PATH ?? "", "/nonexistent"]) {
  const how = path === "/nonexistent" ? " without a runc" : "";
  test(`-info tells the runtime's name and version as a protobuf message${how}`, {
    skip: failsOnGoShim("containerd 1.6's shim has no -info"),
  }, async () => {
    const chunks: Buffer[] = [];

    const running = new Running([place.binary, "-info"], { rawStdout: true, stdin: "", env: { PATH: path } });
    for await (const chunk of running.stdout) chunks.push(chunk as Buffer);
    const output = await running.exited;
    assert.equal(output.status, 0, output.stderr);
    const info = RuntimeInfo.decode(new Uint8Array(Buffer.concat(chunks)));
    assert.equal(info.name, "io.containerd.holdfast.v2");
    assert.match(info.version?.version ?? "", /^\d+\.\d+\.\d+/);
  });
}

test("SIGTERM ends the shim promptly and removes its socket", {
  skip: failsOnGoShim("it ignores SIGTERM, containerd 5502"),
}, async () => {
  place.makeBundle("term", SLEEP);
  const address = await place.start("term");
  const [info] = processesMentioning(`${place.directory}/`);
  assert.ok(info !== undefined);
  process.kill(info.pid, "SIGTERM");
  await eventually("the shim to end", () => !isRunning(info.pid), 5_000);
  assert.equal(existsSync(address.replace("unix://", "")), false);
  await place.removeBundle("term");
});

test("a shim that gets no Create ends by itself and removes its socket", {
  skip: failsOnGoShim("it stays for ever, talos 13622"),
}, async () => {
  place.makeBundle("forgotten", SLEEP);
  const address = await place.start("forgotten");
  const [info] = processesMentioning(`${place.directory}/`);
  assert.ok(info !== undefined);
  await eventually("the shim to end", () => !isRunning(info.pid), 60_000);
  assert.equal(existsSync(address.replace("unix://", "")), false);
  await place.removeBundle("forgotten");
});

test("Shutdown is ignored while there is a container and ends the shim when there is none", async () => {
  const shim = await place.shim("shutdown", SLEEP);
  await shim.create("shutdown", place.bundle("shutdown"));
  const { shimPid } = await shim.connect("shutdown");
  await shim.shutdown("shutdown");
  assert.equal((await shim.connect("shutdown")).shimPid, shimPid);
  await place.endContainer(shim, "shutdown");
  await shim.shutdown("shutdown").catch(() => {});
  await eventually("the shim to end", () => !isRunning(shimPid));
  assert.equal(existsSync(shimSocket(place.address, place.namespace, "shutdown")), false);
  shim.close();
  await place.removeBundle("shutdown");
});

async function deleteResponse(id: string): Promise<DeleteResponse> {
  const chunks: Buffer[] = [];

  const argv = [place.binary, ...place.flags(id), "-bundle", place.bundle(id), "delete"];
  const running = new Running(argv, { rawStdout: true, cwd: place.bundle(id), stdin: "" });
  for await (const chunk of running.stdout) chunks.push(chunk as Buffer);
  const output = await running.exited;
  assert.equal(output.status, 0, output.stderr);
  return DeleteResponse.decode(new Uint8Array(Buffer.concat(chunks)));
}

test("delete cleans up after a killed shim: container, runtime state and root filesystem", async () => {
  const shim = await place.shim("killed", { ...SLEEP, rootfs: "rootfs" });
  const rootfs = [{ type: "bind", source: place.rootfs, target: "", options: ["rbind", "rw"] }];
  const pid = await shim.create("killed", place.bundle("killed"), { rootfs });
  await shim.start("killed");
  const { shimPid } = await shim.connect("killed");
  killForGood(shimPid);
  const response = await deleteResponse("killed");
  assert.equal(response.exitStatus, 137);
  assert.equal(response.pid, pid);
  assert.ok(response.exitedAt !== undefined);
  await eventually("the container to end", () => !isRunning(pid));
  assert.equal(existsSync(place.runtimeState("killed")), false);
  shim.close();
  // The Go shim's delete leaves the socket.
  if (isGoShim) rmSync(shimSocket(place.address, place.namespace, "killed"));
  await place.removeBundle("killed");
});

test("delete where there is nothing to clean up succeeds", {
  skip: failsOnGoShim("it fails where Create did not get as far as writing the runtime's name"),
}, async () => {
  place.makeBundle("never", SLEEP);
  const response = await deleteResponse("never");
  assert.equal(response.exitStatus, 137);
  await place.removeBundle("never");
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
