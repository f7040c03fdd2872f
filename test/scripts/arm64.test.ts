// npm run build -- --arch arm64: the shim for another processor, run by qemu's emulation of its instructions.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { RuntimeInfo } from "../../src/api/generated/runtime_info.ts";
import { DeleteResponse } from "../../src/api/generated/task.ts";

const root = join(import.meta.dirname, "../..");
const binary = join(root, "dist/arm64/containerd-shim-holdfast-v2");
const EMULATOR = "qemu-aarch64-static";
const isThere = (program: string): boolean => spawnSync(program, ["--version"]).status === 0;

const skip = !isThere("aarch64-linux-gnu-gcc")
  ? "gcc-aarch64-linux-gnu and libc6-dev-arm64-cross are not installed"
  : !isThere(EMULATOR)
    ? "qemu-user-static is not installed"
    : false;

test("the shim for arm64 says its version and what it can, and cleans a bundle up", { skip }, (context) => {
  execFileSync("node", ["--import", "tsx", "scripts/build.ts", "--arch", "arm64"], { cwd: root });
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
