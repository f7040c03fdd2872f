// Bundles on disk: who may pass through them, and what goes when nobody has them any more. And shims whose queue is full.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { BUNDLES } from "../../src/api/runtime-names.ts";
import { Bundle, removeRemains } from "../../src/manager/tasks/bundle.ts";
import { parseShimAddress, socketOf } from "../../src/shims/address.ts";
import { saysDead } from "../../src/shims/connect.ts";
import { remove, start, statuses } from "../harness/containers.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { isRunning } from "../harness/processes.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-bundles-"));
after(() => rmSync(directory, { recursive: true }));
const place = { root: join(directory, "root"), state: join(directory, "state") };

function specWith(gidMappings: unknown): Uint8Array {
  return Buffer.from(JSON.stringify({ linux: { gidMappings } }));
}

const MODES: readonly (readonly [name: string, spec: Uint8Array, mode: number, gid: number])[] = [
  ["no mapping", specWith(undefined), 0o700, 0],
  ["root mapped to a group", specWith([{ containerID: 0, hostID: 100_000, size: 65_536 }]), 0o710, 100_000],
  [
    "root mapped by a later range",
    specWith([
      { containerID: 5, hostID: 7, size: 1 },
      { containerID: 0, hostID: 9, size: 1 },
    ]),
    0o710,
    9,
  ],
  ["an empty range", specWith([{ containerID: 0, hostID: 9, size: 0 }]), 0o700, 0],
  ["no spec at all", Buffer.from("{"), 0o700, 0],
];

for (const [index, [name, spec, mode, gid]] of MODES.entries()) {
  test(`a bundle's mode and group, with ${name}`, () => {
    const bundle = new Bundle(place, "n", `mode-${index}`);
    bundle.make(spec);
    const stat = statSync(bundle.path);
    assert.deepEqual([stat.mode & 0o7777, stat.uid, stat.gid], [mode, 0, gid]);
    assert.equal(statSync(join(bundle.path, "rootfs")).mode & 0o7777, 0o711);
    assert.equal(statSync(join(bundle.path, "work")).mode & 0o7777, 0o711);
  });
}

test("work directories without a bundle go, and halves of removals; others stay", async () => {
  const kept = new Bundle(place, "m", "kept");
  kept.make(new Uint8Array(0));
  const work = (id: string): string => join(place.root, BUNDLES, "m", id);
  for (const id of ["orphan", ".half.1234"]) mkdirSync(join(work(id), "deep"), { recursive: true });
  const half = join(place.state, BUNDLES, "m", ".half.5678");
  mkdirSync(half);
  writeFileSync(join(work("kept"), "file"), "");
  await removeRemains(place);
  assert.deepEqual([work("orphan"), work(".half.1234"), half].filter(existsSync), []);
  assert.ok(existsSync(join(work("kept"), "file")));
  assert.ok(existsSync(kept.path));
});

test("an address of a shim: JSON or alone, a path or an abstract socket", () => {
  assert.deepEqual(parseShimAddress("unix:///run/s", "x"), { address: "unix:///run/s", version: 2 });
  const json = '{"version": 3, "address": "unix:///run/s", "protocol": "ttrpc"}';
  assert.deepEqual(parseShimAddress(json, "x"), { address: "unix:///run/s", version: 3 });
  assert.equal(socketOf(parseShimAddress("unix://@abstract", "x").address), "@abstract");
  for (const bad of [
    "",
    "run/s",
    "tcp://1.2.3.4:5",
    "unix://relative",
    "{",
    '{"version": 2}',
    '{"version": 4, "address": "unix:///s"}',
    '{"version": 2, "address": "unix:///s", "protocol": "grpc"}',
  ])
    assert.throws(() => parseShimAddress(bad, "the file"), /^Error: the file: /);
});

test("only a socket that nobody serves means a dead shim", () => {
  const error = (code: string): Error => Object.assign(new Error(code), { code, syscall: "connect" });
  for (const code of ["ECONNREFUSED", "ENOENT"]) assert.equal(saysDead(error(code)), true);
  for (const code of ["EAGAIN", "EMFILE", "ENFILE", "EACCES", "ETIMEDOUT", "ENOMEM"])
    assert.equal(saysDead(error(code)), false, code);
});

/** Connects until the kernel takes no more. */
async function fill(path: string): Promise<Socket[]> {
  const sockets: Socket[] = [];
  for (;;) {
    const outcome = await new Promise<Socket | string>((resolve) => {
      const socket = createConnection({ path });
      socket.once("connect", () => resolve(socket));
      socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? ""));
    });
    if (typeof outcome !== "string") sockets.push(outcome);
    else {
      assert.equal(outcome, "EAGAIN");
      return sockets;
    }
  }
}

test("a stuck shim whose queue is full is not taken for dead, and holds up nobody's start", async () => {
  const daemon = await Daemon.start({ kind: "holdfastd" });
  const client = await daemon.client();
  const pid = await start(daemon, client, "full", ["sleep", "1000"]);
  await start(daemon, client, "free", ["sleep", "1000"]);
  const shim = await daemon.shimPid("full");
  client.close();
  let waiting: Socket[] = [];
  process.kill(shim, "SIGSTOP");
  try {
    await daemon.kill();
    const { address } = JSON.parse(readFileSync(join(daemon.bundle("full"), "bootstrap.json"), "utf8")) as {
      address: string;
    };
    waiting = await fill(socketOf(address));
    await daemon.launch();
    assert.match(daemon.log, /"id":"full".*queue is full/);
    const again = await daemon.client();
    assert.deepEqual(await statuses(again), { free: "RUNNING" });
    assert.ok(isRunning(pid));
    for (const socket of waiting) socket.destroy();
    process.kill(shim, "SIGCONT");
    await eventually("it to be found", async () => (await statuses(again)).full === "RUNNING");
    for (const id of ["full", "free"]) await remove(again, id);
    again.close();
    assert.equal(await daemon.leftovers(), "");
  } finally {
    for (const socket of waiting) socket.destroy();
    if (isRunning(shim)) process.kill(shim, "SIGCONT");
    await daemon.close();
  }
});
