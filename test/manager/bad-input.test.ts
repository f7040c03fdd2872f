// What clients, shims, disks and strangers get wrong: a clear error that names the thing, and nothing is lost or left.
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import type { DaemonClient } from "../../src/cli/containers/daemon-client.ts";
import { check, run } from "../harness/command.ts";
import {
  createTask,
  NO_STDIO,
  putOnRecord,
  recordOf,
  refusal,
  remove,
  specFor,
  start,
} from "../harness/containers.ts";
import { Daemon } from "../harness/daemon.ts";
import { ociSpec } from "../harness/rootfs.ts";

const daemon = await Daemon.start({
  kind: "holdfastd",
  config: ["[timeouts]", "shim_start = 2000", "shim_cleanup = 2000"],
});
const client = await daemon.client();
after(async () => {
  client.close();
  await daemon.close();
});

const SLEEP = ["sleep", "1000"];
const INIT = { containerId: "nonesuch", execId: "" };

test("an id that is not known is NOT_FOUND in every call about it", async () => {
  const { tasks, containers, history } = client;
  const calls: Record<string, Promise<unknown>> = {
    create: createTask(client, "nonesuch"),
    start: tasks.start(INIT),
    delete: tasks.delete({ containerId: "nonesuch" }),
    deleteProcess: tasks.deleteProcess({ ...INIT, execId: "e" }),
    get: tasks.get(INIT),
    kill: tasks.kill({ ...INIT, signal: 9, all: false }),
    exec: tasks.exec({ ...INIT, execId: "e", ...NO_STDIO }),
    resizePty: tasks.resizePty({ ...INIT, width: 1, height: 1 }),
    closeIO: tasks.closeIO({ ...INIT, stdin: true }),
    pause: tasks.pause({ containerId: "nonesuch" }),
    resume: tasks.resume({ containerId: "nonesuch" }),
    listPids: tasks.listPids({ containerId: "nonesuch" }),
    checkpoint: tasks.checkpoint({ containerId: "nonesuch", parentCheckpoint: "" }),
    update: tasks.update({ containerId: "nonesuch", annotations: {} }),
    wait: tasks.wait(INIT),
    "containers.get": containers.get({ id: "nonesuch" }),
    "containers.delete": containers.delete({ id: "nonesuch" }),
    "containers.update": containers.update({ container: recordOf("nonesuch", {}) }),
    "history.get": history.get({ containerId: "nonesuch" }),
  };
  const expected = `NOT_FOUND: container "nonesuch" in namespace "${daemon.namespace}": not found`;
  for (const [name, call] of Object.entries(calls)) assert.equal(await refusal(call), expected, name);
});

test("a container that has no task says so, and an exec that is not known", async () => {
  await putOnRecord(daemon, client, "idle", SLEEP);
  assert.equal(
    await refusal(client.tasks.get({ containerId: "idle", execId: "" })),
    "NOT_FOUND: task idle not found",
  );
  assert.match(
    await refusal(client.history.wait({ containerId: "idle" })),
    /^FAILED_PRECONDITION: .*idle has not been started/,
  );
  await createTask(client, "idle");
  assert.match(await refusal(client.tasks.get({ containerId: "idle", execId: "none" })), /^NOT_FOUND/);
  await remove(client, "idle");
});

test("names that are none, and namespaces", async () => {
  const bad = ["", "a b", "-a", "a/../b", "ä", "a".repeat(77)];
  for (const id of bad) {
    const creation = client.containers.create({
      container: recordOf(id, specFor(daemon, "x", { args: SLEEP })),
    });
    assert.match(await refusal(creation), /^INVALID_ARGUMENT: container\.ID: identifier /);
  }
  for (const name of bad) {
    const creation = client.namespaces.create({ namespace: { name, labels: {} } });
    assert.match(await refusal(creation), /^INVALID_ARGUMENT: identifier /);
  }
  assert.match(
    await refusal(client.inNamespace("a b").containers.list({ filters: [] })),
    /^INVALID_ARGUMENT: namespace/,
  );
  assert.match(
    await refusal(client.inNamespace("").containers.list({ filters: [] })),
    /^FAILED_PRECONDITION: namespace is required/,
  );
});

test("what one namespace has, another does not see", async () => {
  await start(daemon, client, "mine", SLEEP);
  const other = client.inNamespace("other");
  assert.match(
    await refusal(other.tasks.get({ containerId: "mine", execId: "" })),
    /^NOT_FOUND: .*"mine" in namespace "other"/,
  );
  assert.deepEqual(await other.tasks.list({ filter: "" }), { tasks: [] });
  assert.deepEqual(await other.containers.list({ filters: [] }), { containers: [] });
  await remove(client, "mine");
});

test("records that lack what they need, or say it twice", async () => {
  const spec = specFor(daemon, "x", { args: SLEEP });
  const create = (changes: object) =>
    refusal(client.containers.create({ container: { ...recordOf("x", spec), ...changes } }));
  assert.match(await create({ runtime: undefined }), /^INVALID_ARGUMENT: .*runtime name must be set/);
  assert.match(await create({ spec: undefined }), /^INVALID_ARGUMENT: .*spec must be set/);
  assert.match(await create({ snapshotKey: "k" }), /^INVALID_ARGUMENT: .*snapshotter must be set/);
  assert.match(await create({ labels: { k: "v".repeat(4096) } }), /^INVALID_ARGUMENT: .*4096 bytes/);
  await putOnRecord(daemon, client, "x", SLEEP);
  assert.match(await create({}), /^ALREADY_EXISTS: container "x"/);
  await createTask(client, "x");
  assert.match(await refusal(createTask(client, "x")), /^ALREADY_EXISTS: task x: already exists/);
  await remove(client, "x");
});

test("a spec that is larger than a message may be is refused, and one that is no spec fails with the runtime's words", async () => {
  const huge = recordOf("huge", { note: "x".repeat(17 * 1024 * 1024) });
  assert.match(await refusal(client.containers.create({ container: huge })), /^RESOURCE_EXHAUSTED/);
  daemon.ctr.ids.add("broken");
  await client.containers.create({ container: recordOf("broken", "{ this is no JSON") });
  assert.match(await refusal(createTask(client, "broken")), /config\.json/);
  await client.containers.delete({ id: "broken" });
  assert.equal(await daemon.leftovers(), "");
});

test("rootfs mounts of a client are mounted, and unmounted when the container fails to start", async () => {
  const rootfs = join(daemon.bundle("mounted"), "rootfs");
  const mount = { type: "bind", source: daemon.rootfs, target: "", options: ["rbind", "rw"] };
  for (const [args, fails] of [
    [["true"], false],
    [["nonesuch"], true],
  ] as const) {
    const spec = {
      ...(ociSpec({ args, rootfs, cgroupsPath: `/${daemon.namespace}/mounted` }) as object),
      root: { path: "rootfs" },
    };
    daemon.ctr.ids.add("mounted");
    await client.containers.create({ container: recordOf("mounted", spec) });
    const creation = client.tasks.create({
      containerId: "mounted",
      rootfs: [mount],
      ...NO_STDIO,
      runtimePath: "",
    });
    if (fails) assert.match(await refusal(creation), /nonesuch/);
    else {
      await creation;
      await client.tasks.start({ containerId: "mounted", execId: "" });
      await client.tasks.wait({ containerId: "mounted", execId: "" });
      await client.tasks.delete({ containerId: "mounted" });
    }
    await client.containers.delete({ id: "mounted" });
  }
  assert.ok(existsSync(join(daemon.rootfs, "bin/busybox")), "the client's files are still there");
});

/** Makes a shim that is a shell script, and tries to create a task with it. */
async function tryShim(id: string, script: string, client_: DaemonClient = client): Promise<string> {
  const path = join(daemon.directory, `containerd-shim-${id}-v2`);
  writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  await putOnRecord(daemon, client_, id, SLEEP, { runtime: { name: path } });
  const said = await refusal(createTask(client_, id));
  await client_.containers.delete({ id });
  return said;
}

test("a shim that is missing, not executable, or has no name", async () => {
  const withRuntime = async (name: string): Promise<string> => {
    await putOnRecord(daemon, client, "r", SLEEP, { runtime: { name } });
    const said = await refusal(createTask(client, "r"));
    await client.containers.delete({ id: "r" });
    return said;
  };
  assert.match(
    await withRuntime("io.containerd.nonesuch.v2"),
    /^NOT_FOUND: .*containerd-shim-nonesuch-v2 is neither/,
  );
  assert.match(
    await withRuntime("/nonesuch/shim"),
    /^NOT_FOUND: .*\/nonesuch\/shim is not an executable file/,
  );
  assert.match(await withRuntime("nonsense"), /^INVALID_ARGUMENT: invalid runtime name "nonsense"/);
});

test("a shim that fails, prints rubbish, prints nothing, names nobody, or hangs", async () => {
  assert.match(
    await tryShim("fails", "echo no luck today >&2; exit 3"),
    /failed to start shim: .*exit status 3: no luck today/,
  );
  assert.match(await tryShim("rubbish", "echo hello world"), /start printed: "hello world" is no address/);
  assert.match(await tryShim("json", "echo '{\"version\": 9}'"), /no address in/);
  assert.match(await tryShim("silent", "exit 0"), /printed no address/);
  assert.match(await tryShim("nobody", "echo unix:///run/nonesuch.sock"), /ENOENT.*nonesuch\.sock/);
  assert.match(await tryShim("endless", "exec yes"), /more than \d+ bytes of output/);
  assert.match(await tryShim("hangs", "exec sleep 1000"), /no end after 2000 ms/);
  assert.equal(await daemon.leftovers(), "");
});

test("a shim of any make is started with the usual limit of open files, not with Node's", async () => {
  assert.match(await tryShim("limits", "ulimit -Sn >&2; exit 1"), /exit status 1: 1024$/m);
});

test("a client that is not root cannot connect", async () => {
  const command = [
    "setpriv",
    "--reuid=65534",
    "--clear-groups",
    "ctr",
    "--address",
    daemon.address,
    "version",
  ];
  chmodSync(daemon.directory, 0o755);
  const output = await run(["env", "CONTAINERD_ADDRESS=", ...command], { timeoutMs: 60_000 });
  assert.notEqual(output.status, 0);
  assert.match(output.stderr, /permission denied/);
});

test("bytes that are no calls end their connection, and nothing else", async () => {
  for (const path of [daemon.address, `${daemon.address}.ttrpc`]) {
    for (const bytes of [Buffer.from("GET / HTTP/1.1\r\n\r\n"), Buffer.alloc(100, 0xff), Buffer.alloc(0)]) {
      await new Promise<void>((done) => {
        const socket = createConnection(path);
        socket.on("error", () => {});
        socket.on("close", () => done());
        socket.on("connect", () => socket.end(bytes));
        socket.resume();
      });
    }
  }
  await start(daemon, client, "fine", SLEEP);
  await remove(client, "fine");
});

test("events that are none, and filters", async () => {
  const publish = (topic: string) =>
    refusal(client.events.publish({ topic, event: { typeUrl: "x", value: new Uint8Array() } }));
  assert.match(await publish("no-slash"), /^INVALID_ARGUMENT: topic/);
  assert.match(await publish("/a b"), /^INVALID_ARGUMENT: topic/);
  assert.match(await refusal(client.events.forward({})), /^INVALID_ARGUMENT: envelope/);
  assert.match(
    await refusal(client.events.subscribe({ filters: ["topic=="] }).next()),
    /^INVALID_ARGUMENT: filters/,
  );
  assert.match(
    await refusal(client.containers.list({ filters: ["labels.[x"] })),
    /^INVALID_ARGUMENT: filters/,
  );
});

test("a full disk fails the call that writes, and the store stays sound", async () => {
  const root = join(daemon.directory, "small");
  mkdirSync(root);
  await check(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", root]);
  const small = await Daemon.start({ kind: "holdfastd", root });
  try {
    const smallClient = await small.client();
    await putOnRecord(small, smallClient, "first", SLEEP);
    let said = "";
    for (let n = 0; said === "" && n < 2000; n++) {
      const record = recordOf(`fill-${n}`, { note: "x".repeat(20_000) });
      said = await smallClient.containers.create({ container: record }).then(
        () => "",
        (error: unknown) => refusal(Promise.reject(error)),
      );
    }
    assert.match(said, /^RESOURCE_EXHAUSTED: cannot write container "fill-\d+"/);
    // What there is can be read and removed, and then there is room again.
    const { containers } = await smallClient.containers.list({ filters: [] });
    assert.ok(containers.some(({ id }) => id === "first"));
    for (const { id } of containers) if (id !== "first") await smallClient.containers.delete({ id });
    await putOnRecord(small, smallClient, "again", SLEEP);
    smallClient.close();
    await small.crashAndRestart();
    const after = await small.client();
    assert.deepEqual((await after.containers.list({ filters: [] })).containers.map(({ id }) => id).sort(), [
      "again",
      "first",
    ]);
    after.close();
  } finally {
    await small.close();
    await check(["umount", root]);
    rmSync(root, { recursive: true, force: true });
  }
});

test("nothing is left behind", async () => assert.equal(await daemon.leftovers(), ""));
