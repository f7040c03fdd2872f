import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { forEachBuild, freshDirectory } from "./host-program.ts";

interface Failure {
  readonly threw: string;
  readonly code?: string;
  readonly syscall?: string;
  readonly path?: string;
}

await forEachBuild("processes", (program) => {
  const directory = mkdtempSync(join(freshDirectory(), "case-"));

  test("what fails before or in exec throws with its step, and leaves no child and no descriptor", async () => {
    const reports = (await program.reports("spawnErrors", [directory])) as Failure[];
    const brief = reports.slice(0, -1).map(({ threw, code, syscall, path }) => [threw, code, syscall, path]);
    assert.deepEqual(brief, [
      ["Error", "ENOENT", "execve", `${directory}/missing`],
      ["Error", "ENOENT", "execve", "no-such-program-here"],
      ["Error", "EACCES", "execve", directory],
      ["Error", "ENOENT", "chdir", `${directory}/missing`],
      ["Error", "EBADF", "fcntl", undefined],
      ["Error", "ENOENT", "execve", "true"],
      ["TypeError", undefined, undefined, undefined],
      ["TypeError", undefined, undefined, undefined],
      ["RangeError", undefined, undefined, undefined],
    ]);
    assert.deepEqual(reports.at(-1), { children: null, leaked: 0 });
  });

  test("exit codes", async () => {
    const codes = [0, 1, 42, 126, 127, 128, 137, 255];
    assert.deepEqual(await program.reports("exitCodes"), [codes.map((code) => [code, 0])]);
  });

  test("signals end as 128 + signal", async () => {
    const signals = [1, 2, 3, 6, 9, 10, 13, 15];
    assert.deepEqual(await program.reports("exitSignals"), [signals.map((signal) => [128 + signal, signal])]);
  });

  test("the child gets the descriptors asked for, in their order, and no others", async () => {
    const [lines] = await program.reports("descriptors");
    assert.deepEqual(lines, ["input", "out", "err", "three", "0 1 2 3 4 "]); // 4 is the listing's own
    assert.deepEqual(await program.reports("fewDescriptors"), [["0"]]);
  });

  test("descriptors that change places", async () => {
    const { status, reports } = await program.run("swappedDescriptors", [], {
      wrapper: ["sh", "-c", '"$0" "$@" | sed \'s/^to-zero$/"to-zero"/\''],
    });
    assert.equal(status, 0);
    assert.deepEqual(reports, ["to-zero", { one: "to-one\n" }]);
  });

  test("directory, environment, file name, OOM score and a clean signal state", async () => {
    const [report] = await program.reports("surroundings", [directory]);
    assert.deepEqual(report, [
      0,
      directory,
      "value",
      "321",
      "SigBlk:0000000000000000SigIgn:0000000000000000",
    ]);
  });

  test("a new session only where asked for", async () => {
    assert.deepEqual(await program.reports("newSession"), [{ leads: true }, { leads: false }]);
  });

  test("a child with a death signal dies with the host", { timeout: 20_000 }, async () => {
    // The child holds stdout open: this ends only when it is dead.
    assert.deepEqual(await program.reports("deathSignal"), ["started"]);
  });

  test("pidfds: running, zombie, reaped, stranger", async () => {
    const reports = await program.reports("reaping");
    const codes = reports.map((report) => (report as { code?: string }).code);
    assert.deepEqual(reports[0], [null, null]);
    assert.deepEqual(reports[1], ["a pidfd of a zombie", { returned: null }]);
    assert.deepEqual(reports[2], { right: true, status: 0 });
    assert.deepEqual(codes.slice(3, 7), ["ECHILD", "ESRCH", "ESRCH", "EBADF"]);
    assert.deepEqual(reports[7], { any: true, none: null });
  });

  test("a signal through a pidfd", async () => {
    assert.deepEqual(await program.reports("killing"), [[143, 15]]);
  });

  test("a pidfd tells the end of a process that is not our child", async () => {
    const [refused, ended] = await program.reports("stranger");
    assert.equal((refused as { code: string }).code, "ECHILD");
    assert.equal(ended, "it ended");
  });

  test("programs are looked for in absolute directories only, and on where one may not be run", async () => {
    const place = mkdtempSync(join(directory, "path-"));
    mkdirSync(join(place, "bin"));
    mkdirSync(join(place, "refused"));
    writeFileSync(join(place, "refused/tool"), "", { mode: 0o600 });
    for (const name of ["tool", "bin/tool"]) {
      writeFileSync(join(place, name), "#!/bin/sh\nexit 7\n", { mode: 0o755 });
    }
    assert.deepEqual(await program.reports("searchPath", [place]), [...Array(8).fill("ENOENT"), 7]);
  });

  test("children have the limit of open files that was there before it was raised", async () => {
    const wrapper = ["prlimit", "--nofile=300:400"];
    const reports = await program.reports("fileLimits", [], { wrapper });
    assert.deepEqual(reports, ["300 400 Max open files 400 400 files\n"]);
  });

  test("a burst of processes leaves nothing", async () => {
    assert.deepEqual(await program.reports("manyProcesses", ["100"]), [
      { statuses: [0, 1, 2, 3, 4, 5, 6], leaked: 0, left: null },
    ]);
  });
});
