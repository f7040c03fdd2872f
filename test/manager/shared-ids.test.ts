// Ids that somebody else has: another daemon's containers live on, and the refusal says who it is. And what is left when cleaning up fails.
import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { parse } from "smol-toml";
import { RUNC_OPTIONS, RUNTIME_OPTIONS } from "../../src/api/any.ts";
import type { Any } from "../../src/api/generated/google/protobuf/any.ts";
import { Options } from "../../src/api/generated/runc_options.ts";
import { Options as GenericOptions } from "../../src/api/generated/runtime_options.ts";
import { withRuntimeRoot } from "../../src/manager/tasks/runtime-options.ts";
import { findRuntimeHolder } from "../../src/shims/runtime-root.ts";
import {
  createTask,
  NO_STDIO,
  putOnRecord,
  refusal,
  remove,
  start,
  statuses,
} from "../harness/containers.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { killForGood } from "../harness/keeper.ts";
import { isRunning, openFiles } from "../harness/processes.ts";
import { GO_RUNTIME, OUR_RUNTIME } from "../harness/runtime.ts";

const parent = mkdtempSync(join(tmpdir(), "holdfast-shared-"));
const daemon = await Daemon.start({
  kind: "holdfastd",
  pathDirectories: [parent],
  config: ["[shim]", "adopt = false"],
});
const client = await daemon.client();
after(async () => {
  client.close();
  await daemon.close();
  rmSync(parent, { recursive: true });
});

const SLEEP = ["sleep", "1000"];
const NONE = new Uint8Array(0);
const SHIM = "/x/containerd-shim-holdfast-v2";

const runcOptions = (changes: Partial<Options>): Any => ({
  typeUrl: RUNC_OPTIONS,
  value: Options.encode({ ...Options.decode(NONE), ...changes }).finish(),
});
const tomlOptions = (text: string): Any => ({
  typeUrl: RUNTIME_OPTIONS,
  value: GenericOptions.encode({
    typeUrl: "t",
    configPath: "",
    configBody: new Uint8Array(Buffer.from(text)),
  }).finish(),
});

test("options: the root is added where the client names none, and nothing else is changed", () => {
  const plain = withRuntimeRoot(undefined, SHIM, "/r");
  assert.equal(plain.root, "/r");
  assert.equal(Options.decode(plain.options?.value ?? NONE).root, "/r");
  // A field that no version knows, number 99.
  const unknown = new Uint8Array([0x9a, 0x06, 0x01, 0x61]);
  const given = { ...runcOptions({ binaryName: "crun" }) };
  const whole = { ...given, value: new Uint8Array(Buffer.concat([given.value, unknown])) };
  const rooted = withRuntimeRoot(whole, "/x/other", "/r").options?.value ?? NONE;
  assert.deepEqual({ ...Options.decode(rooted) }, { ...Options.decode(given.value), root: "/r" });
  assert.ok(Buffer.from(rooted).includes(Buffer.from(unknown)));
  const own = runcOptions({ root: "/mine" });
  assert.deepEqual(withRuntimeRoot(own, SHIM, "/r"), { options: own, root: "/mine" });
});

test("options of the CRI plugin get it on top of their TOML, and other shims' options stay as they are", () => {
  const toml = tomlOptions('BinaryName = "crun"\n[table]\nRoot = "not this"\n');
  const { options, root } = withRuntimeRoot(toml, SHIM, "/r");
  assert.equal(root, "/r");
  const text = Buffer.from(GenericOptions.decode(options?.value ?? NONE).configBody).toString();
  assert.deepEqual(JSON.parse(JSON.stringify(parse(text))), {
    Root: "/r",
    BinaryName: "crun",
    table: { Root: "not this" },
  });
  const named = tomlOptions('Root = "/mine"');
  assert.deepEqual(withRuntimeRoot(named, SHIM, "/r"), { options: named, root: "/mine" });
  for (const kept of [tomlOptions("Root = 5"), tomlOptions("= broken"), { typeUrl: "other", value: NONE }])
    assert.deepEqual(withRuntimeRoot(kept, SHIM, "/r"), { options: kept, root: undefined });
  for (const shim of ["/x/containerd-shim-kata-v2", "/x/containerd-shim-runsc-v1"]) {
    assert.deepEqual(withRuntimeRoot(toml, shim, "/r"), { options: toml, root: undefined });
    assert.deepEqual(withRuntimeRoot(undefined, shim, "/r"), { options: undefined, root: undefined });
  }
});

test("two daemons have the same namespace and id, and neither meets the other's container", async () => {
  const other = await Daemon.start({ kind: "holdfastd" });
  const its = (await other.client()).inNamespace(daemon.namespace);
  try {
    const first = await start(daemon, client, "same", SLEEP);
    // Both have the same control group, as what clients ask for by default is made of namespace and id.
    await putOnRecord(daemon, its, "same", SLEEP);
    await createTask(its, "same");
    await remove(its, "same");
    await start(daemon, its, "same", SLEEP);
    await remove(its, "same");
    assert.deepEqual(await statuses(client), { same: "RUNNING" });
    assert.ok(isRunning(first));
    assert.ok(existsSync(join(daemon.directory, "state/runc", daemon.namespace, "same", "state.json")));
    assert.equal(existsSync(join("/run/containerd/runc", daemon.namespace)), false);
    await remove(client, "same");
  } finally {
    await other.close();
  }
});

test("an id that the runtime's root has for somebody else is refused by name, and that container lives", async () => {
  const other = await Daemon.start({ kind: "holdfastd" });
  const its = (await other.client()).inNamespace(daemon.namespace);
  const root = join(parent, "root");
  const create = (of: typeof client) =>
    of.tasks.create({
      containerId: "held",
      rootfs: [],
      ...NO_STDIO,
      runtimePath: "",
      options: runcOptions({ root }),
    });
  try {
    await putOnRecord(daemon, client, "held", SLEEP);
    await putOnRecord(other, its, "held", SLEEP);
    const { pid } = await create(client);
    await client.tasks.start({ containerId: "held", execId: "" });
    const text = await refusal(create(its));
    assert.match(
      text,
      new RegExp(
        `^ALREADY_EXISTS: .*${root}/.*/held belongs to the bundle ${daemon.bundle("held")}, pid ${pid}$`,
      ),
    );
    assert.ok(isRunning(pid));
    assert.deepEqual(await statuses(client), { held: "RUNNING" });
    await remove(client, "held");
    assert.equal(findRuntimeHolder(root, daemon.namespace, "held"), undefined);
    assert.ok((await create(its)).pid > 0);
    await remove(its, "held");
  } finally {
    await other.close();
  }
});

test("an id that is taken here says by whom", async () => {
  const pid = await start(daemon, client, "taken", SLEEP);
  assert.match(
    await refusal(createTask(client, "taken")),
    new RegExp(
      `^ALREADY_EXISTS: task taken: already exists: pid ${pid}, running, bundle ${daemon.bundle("taken")}`,
    ),
  );
  await remove(client, "taken");
  mkdirSync(daemon.bundle("stray"), { recursive: true });
  await putOnRecord(daemon, client, "stray", SLEEP);
  assert.match(
    await refusal(createTask(client, "stray")),
    new RegExp(`^ALREADY_EXISTS: .*${daemon.bundle("stray")}`),
  );
  rmSync(daemon.bundle("stray"), { recursive: true });
  await client.containers.delete({ id: "stray" });
});

test("a container of a daemon that had no root of its own is found again, and cleaned up where it is", async () => {
  await putOnRecord(daemon, client, "older", SLEEP);
  const options = runcOptions({ root: "/run/containerd/runc" });
  await client.tasks.create({ containerId: "older", rootfs: [], ...NO_STDIO, runtimePath: "", options });
  await client.tasks.start({ containerId: "older", execId: "" });
  const state = join("/run/containerd/runc", daemon.namespace, "older");
  assert.ok(existsSync(state));
  rmSync(join(daemon.bundle("older"), "runtime-root"));
  const shim = await daemon.shimPid("older");
  await daemon.kill();
  killForGood(shim);
  await daemon.launch();
  const again = await daemon.client();
  await eventually("it to be cleaned up", () => !existsSync(state) && !existsSync(daemon.bundle("older")));
  await again.containers.delete({ id: "older" });
  again.close();
  rmSync(join("/run/containerd/runc", daemon.namespace), { recursive: true, force: true });
});

// Ours remembers what it has answered to a Delete; containerd's refuses a second one.
for (const runtime of [OUR_RUNTIME, GO_RUNTIME]) {
  test(`two who delete at once get the same answer, with ${runtime}`, async () => {
    const own = await daemon.client();
    await putOnRecord(daemon, own, "twice", ["sh", "-c", "exit 5"], { runtime: { name: runtime } });
    await createTask(own, "twice");
    await own.tasks.start({ containerId: "twice", execId: "" });
    await own.tasks.wait({ containerId: "twice", execId: "" });
    const answers = await Promise.all(
      Array.from({ length: 4 }, () => own.tasks.delete({ containerId: "twice" })),
    );
    for (const answer of answers) assert.deepEqual([answer.exitStatus, answer], [5, answers[0]]);
    assert.match(await refusal(own.tasks.delete({ containerId: "twice" })), /^NOT_FOUND/);
    await own.containers.delete({ id: "twice" });
    own.close();
  });
}

test("what cannot be cleaned up keeps its bundle and its id until it can", async () => {
  const own = await daemon.client();
  // In front of the real one, on the daemon's PATH.
  const runc = join(parent, "runc");
  const pid = await start(daemon, own, "stuck", SLEEP);
  writeFileSync(runc, '#!/bin/sh\ncase "$*" in *delete*) exit 1 ;; esac\nexec /usr/sbin/runc "$@"\n');
  chmodSync(runc, 0o755);
  try {
    const shim = await daemon.shimPid("stuck");
    killForGood(shim);
    const { exit } = await own.history.wait({ containerId: "stuck" });
    assert.ok(exit !== undefined);
    assert.ok(existsSync(daemon.bundle("stuck")));
    assert.ok(isRunning(pid));
    assert.match(
      await refusal(createTask(own, "stuck")),
      /^ALREADY_EXISTS: .*cannot be cleaned up .*keeps trying/,
    );
  } finally {
    rmSync(runc);
  }
  own.close();
  // The next daemon tries at once.
  await daemon.crashAndRestart();
  const again = await daemon.client();
  await eventually("it to be cleaned up", () => !existsSync(daemon.bundle("stuck")) && !isRunning(pid));
  await eventually("its id to be free", async () => (await createTask(again, "stuck").catch(() => 0)) > 0);
  await remove(again, "stuck");
  again.close();
});

test("shims' logs take no descriptors once their tasks are gone, or never came to be", async () => {
  const own = await daemon.client();
  const fifos = (): string[] => openFiles(daemon.pid).filter((path) => /\/log( \(deleted\))?$/.test(path));
  await start(daemon, own, "first", ["true"]);
  assert.equal(fifos().length, 1);
  await remove(own, "first");
  for (let n = 0; n < 30; n++) {
    await start(daemon, own, `log-${n}`, ["true"]);
    await own.tasks.wait({ containerId: `log-${n}`, execId: "" });
    await own.tasks.delete({ containerId: `log-${n}` });
    await own.containers.delete({ id: `log-${n}` });
  }
  await eventually("the fifos of deleted tasks to be closed", () => fifos().length === 0);
  await putOnRecord(daemon, own, "never", ["/nonesuch"]);
  for (let n = 0; n < 30; n++) await refusal(createTask(own, "never"));
  await eventually("the fifos of failed creates to be closed", () => fifos().length === 0);
  await own.containers.delete({ id: "never" });
  own.close();
});

test("nothing is left behind", async () => {
  assert.equal(await daemon.leftovers(), "");
  assert.deepEqual(readdirSync(join(daemon.directory, "state/runc", daemon.namespace)), []);
  assert.match(readFileSync(join(daemon.directory, "config.toml"), "utf8"), /state/);
});
