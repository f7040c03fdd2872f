// Output that has nowhere to go, and output that never ends. Numbers are issues of containerd/containerd.
import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { check, run } from "../harness/command.ts";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { FifoReader, makeFifo } from "../harness/fifo.ts";

const place = await Playground.create();
const full = join(place.directory, "full");
mkdirSync(full);
await check(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", full]);
after(async () => {
  await run(["umount", "--lazy", full]);
  await place.close();
});

test("a log file on a disk that is full costs the lines, not the container (11511, 12462)", async () => {
  const program = "dd if=/dev/zero bs=64k count=64 2>/dev/null; echo said >/tmp/went-on; exit 7";
  const shim = await place.shim("full", { args: ["sh", "-c", program] });
  const log = `file://${full}/log`;
  await shim.create("full", place.bundle("full"), { stdout: log, stderr: log });
  await shim.start("full");
  assert.equal((await shim.wait("full")).exitStatus, 7);
  assert.ok(existsSync(join(place.rootfs, "tmp/went-on")));
  assert.ok(statSync(join(full, "log")).size > 0);
  await shim.delete("full");
  rmSync(join(full, "log"));
  await place.forget(shim, "full");
});

test("when the disk has room again, the log goes on", async () => {
  const program =
    "n=0; while [ ! -e /tmp/room ]; do dd if=/dev/zero bs=4k count=1 2>/dev/null; n=$((n+1)); echo $n >/tmp/count.new; mv /tmp/count.new /tmp/count; done; echo last words";
  const shim = await place.shim("room", { args: ["sh", "-c", program] });
  const log = `file://${full}/again`;
  await shim.create("room", place.bundle("room"), { stdout: log });
  await shim.start("room");
  await eventually("the disk to be full", () => statfsSync(full).bavail === 0);
  const written = (): number => Number(readFileSync(join(place.rootfs, "tmp/count"), "latin1"));
  const atFull = written();
  // More than a pipe holds: some of it was refused by the disk.
  await eventually("the container to write on", () => written() > atFull + 40);
  await check(["mount", "-o", "remount,size=10m", full]);
  await check(["touch", join(place.rootfs, "tmp/room")]);
  assert.equal((await shim.wait("room")).exitStatus, 0);
  await shim.delete("room");
  assert.match(readFileSync(join(full, "again"), "latin1"), /last words\n$/);
  await place.forget(shim, "room");
});

test("a container that nobody gave stdio to may write all the same", async () => {
  // A child writes: an init does not die of SIGPIPE by itself.
  const program = "sh -c 'for i in 1 2 3; do echo out; echo err >&2; done; exit 6'; exit $?";
  const shim = await place.shim("silent", { args: ["sh", "-c", program] });
  await shim.create("silent", place.bundle("silent"));
  await shim.start("silent");
  assert.equal((await shim.wait("silent")).exitStatus, 6);
  await shim.delete("silent");
  await place.forget(shim, "silent");
});

test("a stranger that holds the container's stdout open delays Delete, in bounds, and keeps nothing (7832, 9568, 13377)", async () => {
  const shim = await place.shim("held", { args: ["sh", "-c", "echo before; sleep 100000"] });
  const stdout = makeFifo(join(place.bundle("held"), "out"));
  await shim.create("held", place.bundle("held"), { stdout });
  const reader = new FifoReader(stdout);
  const pid = await shim.start("held");
  await reader.until("the line", (text) => text === "before\n");
  const holder = openSync(`/proc/${pid}/fd/1`, "w");
  await shim.kill("held", 9);
  assert.equal((await shim.wait("held")).exitStatus, 137);
  await shim.delete("held");
  assert.equal(existsSync(place.runtimeState("held")), false);
  reader.close();
  closeSync(holder);
  await place.forget(shim, "held");
});

test("nothing is left behind", async () => {
  await check(["umount", full]);
  assert.equal(await place.leftovers(), "");
});
