import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { forEachBuild, freshDirectory, mayMount } from "./host-program.ts";

// Mounts end with the namespace.
const wrapper = ["unshare", "--mount", "--propagation", "private"];

await forEachBuild("mounts", (program) => {
  const parent = freshDirectory();
  const reports = (name: string, ...args: string[]): Promise<unknown[]> =>
    program.reports(name, [mkdtempSync(join(parent, "m-")), ...args], { wrapper });
  const code = (report: unknown): unknown => (report as { code?: string }).code;
  const skip = mayMount() ? false : "needs root";

  test("tmpfs, bind, unmount, and what is refused", { skip }, async () => {
    const [mode, bound, after, notMounted, missing, type, tooLong, busy, detached, link, leaked] =
      await reports("mounting");
    assert.deepEqual([mode, bound, after, detached, leaked], [0o700, "content", [], [], 0]);
    assert.deepEqual([notMounted, missing, type, tooLong, busy, link].map(code), [
      "EINVAL",
      "ENOENT",
      "ENODEV",
      "E2BIG",
      "EBUSY",
      "EINVAL",
    ]);
    assert.match((tooLong as { message: string }).message, /more than 4095 bytes of options$/);
  });

  test("an overlay with lower directories relative to a directory", { skip }, async () => {
    const [names, stayed, noLower, noDirectory, stayedAgain, leaked] = await reports("overlay");
    assert.deepEqual([names, stayed, stayedAgain, leaked], [["one", "two"], true, true, 0]);
    assert.deepEqual([code(noLower), code(noDirectory)], ["ENOENT", "ENOENT"]);
    assert.equal((noDirectory as { syscall: string }).syscall, "chdir");
  });

  test("a loop device over a file, writable and read-only", { skip }, async () => {
    const image = join(parent, `image-${program.build}`);
    writeFileSync(image, "");
    truncateSync(image, 8 << 20);
    execFileSync("mkfs.ext4", ["-q", "-F", "-O", "^has_journal", image]);
    const [busy, content, readOnly, missing] = await reports("loopDevice", image);
    assert.deepEqual([busy, readOnly, missing].map(code), ["EBUSY", "EROFS", "ENOENT"]);
    assert.equal(content, "kept in the image");
  });
});
