import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { forEachBuild, freshDirectory, helperProgram } from "./host-program.ts";

const helper = helperProgram();

await forEachBuild("sockets", (program) => {
  const parent = freshDirectory();
  const reports = (name: string): Promise<unknown[]> =>
    program.reports(name, [mkdtempSync(join(parent, "s-")), helper]);
  const code = (report: unknown): unknown => (report as { code?: string }).code;

  test("a listening socket has the mode asked for; its failures have names", async () => {
    const [kind, open, taken, none, empty, noDirectory, longListen, longConnect, nobody, refused, leaked] =
      await reports("listening");
    assert.deepEqual([kind, open], [["socket", 0o640], 0o666]);
    assert.deepEqual([taken, none, empty, noDirectory, refused].map(code), [
      "EADDRINUSE",
      "ENOENT",
      "ENOENT",
      "ENOENT",
      "ECONNREFUSED",
    ]);
    for (const long of [longListen, longConnect]) {
      assert.equal(code(long), "ENAMETOOLONG");
      assert.match((long as { message: string }).message, /a socket path holds at most 107 bytes$/);
    }
    assert.deepEqual([nobody, leaked], [-1, 0]);
  });

  test("bytes, credentials, a full and a broken connection", async () => {
    const [peer, nothing, sent, text, full, beyond, empty, broken] = await reports("talking");
    assert.deepEqual(peer, { pid: true, uid: process.getuid?.(), gid: process.getgid?.() });
    assert.deepEqual([nothing, sent, text, full, empty], [null, 6, "456789", { filled: true, again: -1 }, 0]);
    assert.equal((beyond as { threw: string }).threw, "RangeError");
    assert.equal(code(broken), "EPIPE");
  });

  test("connect does not wait for a listener that is too busy", async () => {
    const [report] = await reports("fullBacklog");
    const { some, refused } = report as { some: boolean; refused: unknown };
    assert.deepEqual([some, code(refused)], [true, "EAGAIN"]);
  });

  test("descriptors arrive with the bytes they were sent with, non-blocking", async () => {
    assert.deepEqual(await reports("passing"), [
      { text: "two", fds: 2, now: null },
      ["first pipe", null],
      ["second pipe", null],
      { text: "none", fds: 0, now: null },
      "closed",
    ]);
  });

  test("a terminal: size, bytes both ways, and its end", async () => {
    assert.deepEqual(await reports("terminal"), [["output", "eof", "", "43 132\nanswer\ngot answer\n"]]);
  });

  test("a terminal that is read late gets everything in its order", async () => {
    const directory = mkdtempSync(join(parent, "s-"));
    const content = randomBytes(400_001);
    writeFileSync(join(directory, "source"), content);
    const reports = await program.reports("slowTerminal", [directory, helper, join(directory, "source")]);
    assert.deepEqual(reports, [["eof", ""]]);
    assert.ok(readFileSync(join(directory, "came")).equals(content));
  });
});
