// What snapshots take, as containerd and holdfastd say it of the same files on the same file system: active, committed, and a child of that.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Mount } from "../../src/api/generated/mount.ts";
import { check } from "../harness/command.ts";
import { Daemon } from "../harness/daemon.ts";
import { ImagesClient } from "./client.ts";

const point = mkdtempSync(join(tmpdir(), "holdfast-usage-"));
after(() => rmSync(point, { recursive: true, force: true }));

/** Several names of one file, links, what is empty, special files, and a few directories. */
const FILL = `
set -e
mkdir -p a/b many; head -c 100000 /dev/urandom > a/b/file; ln a/b/file a/hard; ln a/b/file hard; ln -s file a/b/link
: > empty; mkfifo fifo; mknod device c 1 3
for n in $(seq 20); do echo $n > many/$n; done
`;
/** containerd's copies of them have none any more. */
const HOLES = "truncate -s 5M sparse; printf x | dd of=sparse bs=1 seek=2000000 conv=notrunc status=none";
const CHANGE = "set -e; rm a/hard; mkdir c; head -c 5000 /dev/urandom > c/new; echo more >> a/b/file";

async function within(mounts: readonly Mount[], script: string): Promise<void> {
  const [mount] = mounts;
  if (mount === undefined) throw new Error("no mount");
  const { type, source, options } = mount;
  const flags =
    type === "bind" ? ["--bind"] : ["-t", type, "-o", options.filter((each) => each !== "rw").join(",")];
  await check(["mount", ...flags, source, point]);
  try {
    await check(["sh", "-c", `cd ${point} && { ${script}\n}; sync -f .`]);
  } finally {
    await check(["umount", point]);
  }
}

type Figures = Record<string, { readonly size: bigint; readonly inodes: bigint }>;

async function usages(kind: "containerd" | "holdfastd", snapshotter: string, fill: string): Promise<Figures> {
  const daemon = await Daemon.start({ kind });
  const client = await ImagesClient.connect(daemon.address, "usage");
  try {
    await client.daemon.leases.create({ id: "hold", labels: {} });
    const { snapshots } = client.daemon.underLease("hold");
    const base = await snapshots.prepare({ snapshotter, key: "base", parent: "", labels: {} });
    await within(base.mounts, fill);
    const active = await snapshots.usage({ snapshotter, key: "base" });
    await snapshots.commit({ snapshotter, name: "committed", key: "base", labels: {}, parent: "" });
    const committed = await snapshots.usage({ snapshotter, key: "committed" });
    const child = await snapshots.prepare({ snapshotter, key: "child", parent: "committed", labels: {} });
    const fresh = await snapshots.usage({ snapshotter, key: "child" });
    await within(child.mounts, CHANGE);
    const changed = await snapshots.usage({ snapshotter, key: "child" });
    await snapshots.view({ snapshotter, key: "view", parent: "committed", labels: {} });
    const view = await snapshots.usage({ snapshotter, key: "view" });
    return { active, committed, fresh, changed, view };
  } finally {
    client.close();
    await daemon.close();
  }
}

for (const [snapshotter, fill] of [
  ["overlayfs", `${FILL}${HOLES}`],
  ["native", FILL],
] as const) {
  test(`usage of ${snapshotter} is what containerd says`, async () => {
    const theirs = await usages("containerd", snapshotter, fill);
    assert.ok((theirs.committed?.size ?? 0n) > 100_000n);
    assert.deepEqual(await usages("holdfastd", snapshotter, fill), theirs);
  });
}

test("copies of snapshots keep their holes", async () => {
  const { committed, fresh } = await usages("holdfastd", "native", `${FILL}${HOLES}`);
  assert.deepEqual(fresh, committed);
});
