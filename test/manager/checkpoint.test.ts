// Checkpoint and restore through holdfastd's API: into and from a directory, with a runtime that stands in for one with criu.
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pack, RUNC_CHECKPOINT_OPTIONS, RUNC_OPTIONS } from "../../src/api/any.ts";
import type { Any } from "../../src/api/generated/google/protobuf/any.ts";
import { CheckpointOptions, Options } from "../../src/api/generated/runc_options.ts";
import { NO_STDIO, putOnRecord, refusal, remove } from "../harness/containers.ts";
import { CriuRuntime } from "../harness/criu-runtime.ts";
import { Daemon } from "../harness/daemon.ts";

const parent = mkdtempSync(join(tmpdir(), "holdfast-checkpoints-"));
const runtime = new CriuRuntime(parent);
const daemon = await Daemon.start({ kind: "holdfastd" });
const client = await daemon.client();
after(async () => {
  client.close();
  await daemon.close();
  rmSync(parent, { recursive: true });
});

const NONE = new Uint8Array(0);
const image = join(parent, "image");

const runcOptions = (criuImagePath: string): Any =>
  pack(RUNC_OPTIONS, Options, { ...Options.decode(NONE), binaryName: runtime.program, criuImagePath });
const checkpointOptions = (imagePath: string): Any =>
  pack(RUNC_CHECKPOINT_OPTIONS, CheckpointOptions, {
    ...CheckpointOptions.decode(NONE),
    imagePath,
    exit: true,
  });

async function create(id: string, criuImagePath: string): Promise<number> {
  await putOnRecord(daemon, client, id, ["sleep", "1000"]);
  const options = runcOptions(criuImagePath);
  const { pid } = await client.tasks.create({
    ...NO_STDIO,
    containerId: id,
    rootfs: [],
    options,
    checkpoint: undefined,
    runtimePath: "",
  });
  return pid;
}

test("a task is written to a directory, and another made from it; an image of a checkpoint is refused", async () => {
  assert.notEqual(await create("written", ""), 0);
  await client.tasks.start({ containerId: "written", execId: "" });
  const checkpoint = (path: string) =>
    client.tasks.checkpoint({
      containerId: "written",
      parentCheckpoint: "",
      options: checkpointOptions(path),
    });
  assert.match(await refusal(checkpoint("")), /^UNIMPLEMENTED: .*name a directory/);
  await checkpoint(image);
  assert.deepEqual(readdirSync(image), ["pages-1.img"]);
  assert.equal((await client.tasks.wait({ containerId: "written", execId: "" })).exitStatus, 137);
  await remove(client, "written");

  assert.equal(await create("restored", image), 0);
  const { pid } = await client.tasks.start({ containerId: "restored", execId: "" });
  const { process } = await client.tasks.get({ containerId: "restored", execId: "" });
  assert.deepEqual([process?.pid, process?.status], [pid, 2]);
  assert.equal(runtime.calledWith("restore")[1], image);
  await remove(client, "restored");
});
