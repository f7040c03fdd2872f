// A container may open its own /dev/stdout again, whoever its user is (10598).
import assert from "node:assert/strict";
import { chmodSync, chownSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Playground } from "../harness/direct-shim.ts";
import { buildRootfs } from "../harness/rootfs.ts";
import { fifoIn, Running, reading } from "./running.ts";

const place = await Playground.create();
after(() => place.close());

const OPENS = "echo again >/proc/self/fd/1 && echo error >/proc/self/fd/2";

/** Makes a bundle of a container in a user namespace, whose root is the host's 200000. */
function bundleInUserNamespace(id: string, args: readonly string[], uid: number): void {
  const rootfs = buildRootfs(join(place.directory, `rootfs-${id}`));
  for (const path of ["", "tmp", "dev", "proc", "sys"]) chownSync(join(rootfs, path), 200000, 200000);
  // The container's root must get through to its root file system.
  chmodSync(place.directory, 0o755);
  place.makeBundle(id, { args, rootfs });
  const path = join(place.bundle(id), "config.json");
  const spec = JSON.parse(readFileSync(path, "utf8"));
  const mapping = [{ containerID: 0, hostID: 200000, size: 65536 }];
  spec.linux.namespaces.push({ type: "user" });
  spec.linux.uidMappings = mapping;
  spec.linux.gidMappings = mapping;
  spec.process.user = { uid, gid: uid };
  writeFileSync(path, JSON.stringify(spec));
}

for (const uid of [0, 1000]) {
  test(`in a user namespace, as user ${uid}, init and exec`, async () => {
    const id = `userns-${uid}`;
    bundleInUserNamespace(id, ["sh", "-c", `${OPENS}; exec sleep 100000`], uid);
    const stdout = fifoIn(place, "out");
    const stderr = fifoIn(place, "err");
    const running = await Running.ofBundle(place, id, { stdout, stderr });
    const output = reading(stdout);
    const errors = reading(stderr);
    for (const each of [output, errors])
      await each.until("a line or a complaint", (text) => text.includes("\n"));
    assert.equal(output.text, "again\n");
    assert.equal(errors.text, "error\n");
    const ends = [fifoIn(place, "out"), fifoIn(place, "err")] as const;
    await running.exec("e", ["sh", "-c", OPENS], {
      stdout: ends[0],
      stderr: ends[1],
      user: { uid, gid: uid },
    });
    const [out, err] = ends.map(reading);
    await running.shim.wait(id, "e");
    await running.shim.delete(id, "e");
    await Promise.all([out?.ended, err?.ended]);
    assert.deepEqual([out?.text, err?.text], ["again\n", "error\n"]);
    output.close();
    errors.close();
    await running.end();
  });
}

test("without a user namespace, an exec of another user", async () => {
  const running = await Running.start(place, "other");
  const stdout = fifoIn(place, "out");
  const stderr = fifoIn(place, "err");
  await running.exec("e", ["sh", "-c", OPENS], { stdout, stderr, user: { uid: 1000, gid: 1000 } });
  const output = reading(stdout);
  const errors = reading(stderr);
  await running.shim.wait("other", "e");
  await running.shim.delete("other", "e");
  await Promise.all([output.ended, errors.ended]);
  assert.deepEqual([output.text, errors.text], ["again\n", "error\n"]);
  await running.end();
});

test("io_uid and io_gid own the pipes, also where the process is another user's", async () => {
  const id = "asked-for";
  bundleInUserNamespace(id, ["sleep", "100000"], 0);
  const stdin = fifoIn(place, "in");
  const stdout = fifoIn(place, "out");
  // A uid outside of the mappings: the runtime cannot change it back.
  const options = { ioUid: 4242, ioGid: 4343 };
  const running = await Running.ofBundle(place, id, { stdin, stdout, options });
  const { pid } = await running.shim.state(id);
  for (const fd of [0, 1]) {
    const { uid, gid } = statSync(`/proc/${pid}/fd/${fd}`);
    assert.deepEqual([uid, gid], [4242, 4343], `descriptor ${fd}`);
  }
  await running.end();
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
