// holdfastd and its unpacker killed, and the disk full, at every step of an image that comes in: it is no loss, and nothing is left over.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Cli } from "../cli/cli.ts";
import { makeImage } from "../cli/image-source.ts";
import { check, run } from "../harness/command.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { processesMentioning } from "../harness/processes.ts";

const place = mkdtempSync(join(tmpdir(), "holdfast-crashes-"));
after(() => rmSync(place, { recursive: true, force: true }));
let archive: string;
before(async () => {
  archive = await makeImage(place, "crash:1");
});

/** The directories of a daemon's root in which something of images is. */
function leftIn(root: string): string[] {
  const places = ["content/blobs/sha256", "content/ingest", "snapshots/overlayfs/snapshots", "scratch"];
  return places.flatMap((name) => {
    const path = join(root, name);
    return existsSync(path) ? readdirSync(path).map((each) => join(name, each)) : [];
  });
}

/** Everything is collected that nothing keeps. */
async function collect(daemon: Daemon): Promise<void> {
  await daemon.ctr.do(["leases", "create", "--id", "sweep"]);
  await daemon.ctr.do(["leases", "rm", "--sync", "sweep"]);
}

async function importAndRun(cli: Cli): Promise<boolean> {
  const loaded = await cli.run(["load", "-i", archive]);
  if (loaded.status !== 0) return false;
  return (await cli.run(["run", "--rm", "--pull", "never", "crash:1", "echo", "runs"])).stdout === "runs\n";
}

const STEPS = [
  "containerd.services.leases.v1.Leases/Create:response",
  "containerd.services.content.v1.Content/Write:request",
  "containerd.services.content.v1.Content/Write:response",
  "containerd.services.content.v1.Content/Write:response#3",
  "containerd.services.images.v1.Images/Create:request",
  "containerd.services.images.v1.Images/Create:response",
  "containerd.services.snapshots.v1.Snapshots/Prepare:response",
  "containerd.services.diff.v1.Diff/Apply:request",
  "containerd.services.diff.v1.Diff/Apply:response",
  "containerd.services.snapshots.v1.Snapshots/Commit:response",
  "containerd.services.snapshots.v1.Snapshots/Prepare:response#2",
];

test("killed at any step of an import and a first run, the daemon comes back, the same succeeds, and nothing is left over", async () => {
  const daemon = await Daemon.start({ kind: "holdfastd" });
  const cli = new Cli(daemon);
  try {
    for (const step of STEPS) {
      await daemon.kill();
      await daemon.launch({ HOLDFAST_FAILPOINT: step });
      // What is killed in the middle may have been answered by then.
      await importAndRun(cli);
      await daemon.kill();
      await daemon.launch();
      assert.ok(await importAndRun(cli), step);
      await cli.do(["rmi", "crash:1"]);
      await collect(daemon);
      const left = leftIn(join(daemon.directory, "root")).filter(
        (path) => !path.startsWith("content/ingest/"),
      );
      assert.deepEqual(left, [], step);
    }
    assert.equal(await daemon.leftovers(), "");
  } finally {
    cli.close();
    await daemon.close();
  }
});

test("an unpacker that is killed is an error that says so, and the next try succeeds", async () => {
  const daemon = await Daemon.start({ kind: "holdfastd" });
  const cli = new Cli(daemon);
  try {
    await cli.do(["load", "-i", archive]);
    const running = cli.spawn(["run", "--rm", "--pull", "never", "crash:1", "echo", "runs"]);
    // It may have been faster; then there is nothing to see.
    const unpacker = await eventually("the unpacker, or the end", () => {
      const found = processesMentioning(join(daemon.directory, "root/scratch"));
      return found[0]?.pid ?? (running.child.exitCode === null ? undefined : -1);
    });
    try {
      if (unpacker > 0) process.kill(unpacker, "SIGKILL");
    } catch (error) {
      // It has ended since it was seen.
      assert.equal((error as NodeJS.ErrnoException).code, "ESRCH");
    }
    const { status, stderr } = await running.exited;
    if (status !== 0) assert.match(stderr, /holdfast-layer ended with SIGKILL/);
    assert.equal(await cli.do(["run", "--rm", "crash:1", "echo", "again"]), "again\n");
    await cli.do(["rmi", "crash:1"]);
    await collect(daemon);
    assert.deepEqual(leftIn(join(daemon.directory, "root")), []);
  } finally {
    cli.close();
    await daemon.close();
  }
});

test("a disk that is full at any step is an error; with room again the same succeeds, and nothing is left over", async () => {
  const mounted = join(place, "small");
  mkdirSync(mounted);
  await check(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", mounted]);
  const daemon = await Daemon.start({ kind: "holdfastd", root: join(mounted, "root") });
  const cli = new Cli(daemon);
  const size = statSync(archive).size;
  try {
    // Not even the first block; half a layer; the layer, but not its files; all but a little.
    for (const free of [8 << 10, size / 2, size * 1.1, size * 1.5]) {
      const filler = join(mounted, "filler");
      const room = Number((await check(["df", "--output=avail", "-B1", mounted])).trim().split("\n").at(-1));
      writeFileSync(filler, Buffer.alloc(Math.max(0, room - Math.round(free))));
      const loaded = await cli.run(["load", "-i", archive]);
      const ran =
        loaded.status === 0 ? await cli.run(["run", "--rm", "--pull", "never", "crash:1", "true"]) : loaded;
      assert.notEqual(ran.status, 0, `${free} bytes`);
      assert.match(ran.stderr, /no space|full|cannot write/i, `${free} bytes`);
      rmSync(filler);
      assert.ok(await importAndRun(cli), `after ${free} bytes`);
      await cli.do(["rmi", "crash:1"]);
      await collect(daemon);
      assert.deepEqual(leftIn(join(mounted, "root")), [], `${free} bytes`);
    }
    assert.equal(await daemon.leftovers(), "");
  } finally {
    cli.close();
    await daemon.close();
    await run(["umount", mounted]);
  }
});

test("an image that is removed while a container runs on it stays until that has gone", async () => {
  const daemon = await Daemon.start({ kind: "holdfastd" });
  const cli = new Cli(daemon);
  try {
    await cli.do(["load", "-i", archive]);
    await cli.do(["run", "-d", "--name", "user", "--entrypoint", "sleep", "crash:1", "1000"]);
    await cli.do(["rmi", "crash:1"]);
    await collect(daemon);
    assert.equal(await cli.do(["exec", "user", "cat", "/etc/group"]), "web:x:44:\nadm:x:55:web\n");
    await cli.do(["stop", "-t", "1", "user"]);
    await cli.do(["start", "user"]);
    assert.equal(await cli.do(["exec", "user", "echo", "again"]), "again\n");
    await cli.do(["commit", "user", "saved:1"]);
    await cli.do(["delete", "-f", "user"]);
    assert.equal(await cli.do(["run", "--rm", "saved:1", "echo", "saved"]), "saved\n");
    await cli.do(["rmi", "saved:1"]);
    await collect(daemon);
    assert.deepEqual(leftIn(join(daemon.directory, "root")), []);
    assert.equal(await daemon.leftovers(), "");
  } finally {
    cli.close();
    await daemon.close();
  }
});
