import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { forEachBuild, freshDirectory } from "./host-program.ts";

await forEachBuild("files", (program) => {
  const parent = freshDirectory();
  const inDirectory = async (name: string): Promise<{ directory: string; reports: unknown[] }> => {
    const directory = mkdtempSync(join(parent, "case-"));
    return { directory, reports: await program.reports(name, [directory]) };
  };

  test("failures carry code, system call, path and the system's words", async () => {
    const { directory, reports } = await inDirectory("systemErrors");
    const missing = `${directory}/missing`;
    const threw = (syscall: string, code: string, reason: string, path?: string): object => ({
      threw: "Error",
      message: `${syscall}${path === undefined ? "" : ` ${path}`}: ${reason}`,
      code,
      syscall,
      ...(path === undefined ? {} : { path }),
    });
    const none = (syscall: string): object => threw(syscall, "ENOENT", "No such file or directory", missing);
    assert.deepEqual(reports.slice(0, -2), [
      none("openat"),
      threw("close", "EBADF", "Bad file descriptor"),
      none("openat"),
      threw("mkdir", "EEXIST", "File exists", directory),
      none("rmdir"),
      none("unlink"),
      none("rename"),
      none("openat"),
    ]);
    assert.equal((reports.at(-2) as { code: string }).code, "ENAMETOOLONG");
    assert.ok((reports.at(-1) as number) <= 4, `descriptors left open: ${reports.at(-1)}`);
  });

  test("files are read whole, in parts, and not beyond a bound", async () => {
    const { reports } = await inDirectory("readAndWrite");
    const [written, whole, tooLarge, first, rest, end, , empty, procfs, open] = reports;
    assert.deepEqual(
      [written, whole, first, rest, end, empty, procfs],
      [5, "hello", "he", "llo", 0, 0, true],
    );
    assert.equal((tooLarge as { code: string }).code, "EFBIG");
    assert.ok((open as number) <= 4);
  });

  test("stat tells kinds, modes and owners; null for what is not there", {
    skip: process.getuid?.() !== 0,
  }, async () => {
    const { reports } = await inDirectory("stats");
    const [, file, directory, fifo, symlink, socket, device, none, changed, owner, names] = reports;
    assert.deepEqual(file, { kind: "file", mode: 0o640, size: 5, uid: 0 });
    assert.deepEqual(
      { ...(directory as object), size: 0 },
      { kind: "directory", mode: 0o750, size: 0, uid: 0 },
    );
    assert.deepEqual(fifo, { kind: "fifo", mode: 0o600, size: 0, uid: 0 });
    assert.deepEqual(symlink, { kind: "symlink", mode: 0o777, size: 4, uid: 0 });
    assert.deepEqual(socket, { kind: "socket", mode: 0o600, size: 0, uid: 0 });
    assert.deepEqual([device, none], ["character", [null, null]]);
    assert.deepEqual(changed, { mode: 0o755, uid: 12, gid: 34, named: true }); // chown clears set-user-id
    assert.deepEqual([owner, names], [56, ["renamed", "socket", "symlink"]]);
  });

  test("pipes: would block, capacity, end of file, a peer that is gone", async () => {
    const reports = await program.reports("pipes");
    const [nothing, fresh, taken, full, closed, ends, noReader, broken, bad] = reports;
    assert.deepEqual([nothing, fresh], [null, [0, false, false]]);
    assert.deepEqual([taken, full], [[true, true], -1]);
    assert.deepEqual([closed, ends, noReader], [true, [true, 0], true]);
    assert.equal((broken as { code: string }).code, "EPIPE");
    assert.equal((bad as { code: string }).code, "EBADF");
  });

  test("descriptors are duplicated, and made blocking and back", async () => {
    const [through, nothing, bad] = await program.reports("duplicates");
    assert.deepEqual([through, nothing, (bad as { code: string }).code], ["through the copy", null, "EBADF"]);
  });
});
