import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { forEachBuild, freshDirectory, mayMount } from "./host-program.ts";

const inputs = ["pipe", "file", "socket"];
const outputs = ["pipe", "file", "append", "socket"];
const edges = [1, 4096, 32768, 65536, 1 << 20].flatMap((size) => [size - 1, size, size + 1]);

await forEachBuild("relays", (program) => {
  const parent = freshDirectory();
  const directory = (): string => mkdtempSync(join(parent, "r-"));
  const arrives = async (from: string, to: string, size: number): Promise<void> => {
    const work = directory();
    const content = randomBytes(size);
    writeFileSync(join(work, "source"), content);
    const hash = createHash("sha256").update(content).digest("hex");
    const reports = await program.reports("relayAll", [from, to, join(work, "source"), work]);
    assert.deepEqual(reports, [true, { why: "eof", code: "", hash }], `${size} bytes from ${from} to ${to}`);
  };

  for (const to of outputs) {
    test(`everything arrives in a ${to}`, async () => {
      for (const from of inputs) await arrives(from, to, 300_001);
      for (const size of edges) await arrives("pipe", to, size);
    });
  }

  test("many megabytes from pipe to pipe", () => arrives("pipe", "pipe", (32 << 20) + 1));

  for (const kind of ["pipe", "socket"]) {
    test(`a ${kind} that nobody reads blocks the relay without work; all arrives in the end`, async () => {
      assert.deepEqual(await program.reports("blocked", [kind, directory()]), [
        { moved: 0, blocked: true },
        { idle: true },
        { idle: true },
        { why: "eof", code: "", last: "the last of it", all: true },
      ]);
    });
  }

  const shows = (behaviour: string, name: string, expected: unknown[], withDirectory = false): void => {
    test(behaviour, async () => {
      assert.deepEqual(await program.reports(name, withDirectory ? [directory()] : []), expected);
    });
  };

  shows("the end of an empty input is told though the output is full", "endWithFullOutput", [["eof", ""]]);
  shows("a dead reader ends the relay, and a second relay delivers the rest", "deadReader", [
    "first",
    ["write", "EPIPE"],
    ["eof", "", "not lost"],
  ]);
  shows("a reader that dies while the output is full", "readerDiesWhileBlocked", [
    ["write", "EPIPE", "waiting"],
  ]);
  test("a busy stream leaves the others their turn", async () => {
    const reports = await program.reports("busyNeighbour", [], { wrapper: ["timeout", "120"] });
    assert.deepEqual(reports, [["eof", "has its turn"]]);
  });
  shows("a reader that leaves while nothing comes costs no work", "readerLeavesIdle", [
    true,
    "after the rest",
    { idle: true },
    ["write", "EPIPE"],
  ]);
  shows(
    "a fifo held open outlives its reader, blocks without work, and the next reader gets everything",
    "heldFifo",
    [5, { idle: true }, ["eof", ""], { all: true }],
    true,
  );
  for (const kind of ["pipe", "socket"]) {
    test(`what a full output does not take of a ${kind} goes where it is redirected, as much as there is room for`, async () => {
      const asked = [" 0", " 10", " 13"];
      assert.deepEqual(await program.reports("redirected", [kind, directory()]), [
        { blocked: true, busy: "EBUSY" },
        { idle: true },
        true,
        { why: "eof", code: "", moved: 19, asked },
        "0123456789abcdefghi",
      ]);
    });
  }
  shows("a relay whose output fails asks, and loses nothing", "failingOutput", [
    ["EPIPE", false],
    [1, true],
    "not lost",
    ["EPIPE", false],
    "RangeError",
  ]);
  shows("a stopped relay leaves what it has not moved", "stopped", [["before", "after"]]);
  shows(
    "one descriptor in several relays",
    "sharedDescriptors",
    ["to the far side", ["in eof", "out eof", "second eof"], "ab"],
    true,
  );
  shows("a relay goes on in a forked child", "forked", [[21, "moved by the child"]]);

  test("devices, directories and closed descriptors", async () => {
    const [noFrom, noTo, ends] = await program.reports("oddEnds", [directory()]);
    for (const refused of [noFrom, noTo]) assert.equal((refused as { code: string }).code, "EBADF");
    assert.deepEqual(ends, [
      ["directory", "read", "EISDIR"],
      ["null", "eof", ""],
      ["to null", "eof", ""],
    ]);
  });

  test("close refuses while a relay lives, and ends a watch", async () => {
    const [refused, allowed] = (await program.reports("closing")) as { code?: string }[][];
    assert.deepEqual(
      refused?.map(({ code }) => code),
      ["EBUSY", "EBUSY"],
    );
    assert.deepEqual(allowed, [{ returned: null }, { returned: null }]);
  });

  for (const mode of ["truncate", "append"]) {
    test(`a full disk ends the relay to a file opened to ${mode}`, {
      skip: mayMount() ? false : "needs root",
    }, async () => {
      const script = 'mount -t tmpfs -o size=64k none "$0" && exec "$@"';
      const work = directory();
      const wrapper = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, work];
      const [end, gone] = await program.reports("diskFull", [work, mode], { wrapper });
      assert.deepEqual(end, ["write", "ENOSPC", true]);
      assert.equal((gone as { threw: string }).threw, "RangeError");
    });
  }

  if (program.build === "sanitize") return;

  test("an idle relay costs little", async () => {
    const [grown] = await program.reports("idleRelays", ["1000"]);
    assert.ok((grown as number) < 600, `${grown} KiB for a thousand`);
  });
});
