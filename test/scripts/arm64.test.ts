// npm run build -- --arch arm64: the shim for another processor, run by qemu's emulation of its instructions.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { RuntimeInfo } from "../../src/api/generated/runtime_info.ts";
import { DeleteResponse } from "../../src/api/generated/task.ts";
import { Playground } from "../harness/direct-shim.ts";
import { FifoReader, makeFifo } from "../harness/fifo.ts";
import { ShimClient } from "../harness/shim-client.ts";

const root = join(import.meta.dirname, "../..");
const binary = join(root, "dist/arm64/containerd-shim-holdfast-v2");
const EMULATOR = "qemu-aarch64-static";
/** The emulator's name since Debian 13. */
const NEW_EMULATOR = "qemu-aarch64";
/** Room for the program's heap to grow: where that ends at a page's middle, as without it, the C library trips over its own checks. */
const ROOM = ["-R", "4G"];
const version = (program: string): number =>
  Number(spawnSync(program, ["--version"], { encoding: "utf8" }).stdout?.match(/version (\d+)/)?.[1]);
const isThere = (program: string): boolean => spawnSync(program, ["--version"]).status === 0;

const canBuild = isThere("aarch64-linux-gnu-gcc");
/** A system of the matrix has no compiler, and what the host has built. */
const compiler =
  canBuild || existsSync(binary)
    ? false
    : "gcc-aarch64-linux-gnu and libc6-dev-arm64-cross are not installed";
const skip = compiler || (isThere(EMULATOR) ? false : "qemu-user-static is not installed");

function build(): void {
  if (canBuild)
    execFileSync("node", ["--import", "tsx", "scripts/build.ts", "--arch", "arm64"], { cwd: root });
}

test("the shim for arm64 says its version and what it can, and cleans a bundle up", { skip }, (context) => {
  build();
  const machine = readFileSync(binary).readUInt16LE(18);
  assert.equal(machine, 183, "EM_AARCH64");
  const run = (args: readonly string[]): Buffer => execFileSync(EMULATOR, [binary, ...args], { input: "" });
  assert.match(run(["-v"]).toString(), /io\.containerd\.holdfast\.v2/);
  assert.equal(RuntimeInfo.decode(run(["-info"])).name, "io.containerd.holdfast.v2");
  const bundle = mkdtempSync(join(tmpdir(), "holdfast-arm64-"));
  context.after(() => rmSync(bundle, { recursive: true }));
  mkdirSync(join(bundle, "rootfs"));
  const flags = ["-namespace", "arm64", "-address", join(bundle, "c.sock"), "-publish-binary", "/bin/true"];
  const answer = run([...flags, "-id", "gone", "-bundle", bundle, "delete"]);
  assert.equal(DeleteResponse.decode(answer).exitStatus, 137);
});

// qemu-user 7.2 (Debian 12) answers prctl(PR_SET_CHILD_SUBREAPER) with EINVAL, without which no shim can do its work; 10.0 (Debian 13) has it.
test("the shim for arm64 runs a container and an exec in it, and tells their ends", {
  skip: compiler || (version(NEW_EMULATOR) >= 10 ? false : "qemu-user 10 or newer is not installed"),
}, async (context) => {
  build();
  process.env.HOLDFAST_TEST_SHIM = binary;
  const place = await Playground.create();
  context.after(() => place.close());
  place.makeBundle("arm", { args: ["sh", "-c", "echo out; sleep 1000"] });
  const stdout = makeFifo(join(place.directory, "out"));
  const shim = await ShimClient.connect(await place.start("arm", { wrapper: [NEW_EMULATOR, ...ROOM] }));
  await shim.create("arm", place.bundle("arm"), { stdout });
  await shim.start("arm");
  const output = new FifoReader(stdout);
  await output.until("the container's output", (text) => text === "out\n");
  await shim.exec("arm", "e", ["sh", "-c", "exit 7"]);
  await shim.start("arm", "e");
  assert.equal((await shim.wait("arm", "e")).exitStatus, 7);
  await shim.kill("arm", 9);
  assert.equal((await shim.wait("arm")).exitStatus, 137);
  await shim.delete("arm");
  await place.events.arrived("/tasks/delete", "arm");
  assert.deepEqual(place.events.order("arm"), [
    ...["create", "start", "exec-added e", "exec-started e", "exit e", "exit", "delete"],
  ]);
  await output.ended;
  await place.forget(shim, "arm");
});
