// No descriptor is left open by what fails half-way, wherever it fails: the shim gets one more to use in each round.
import assert from "node:assert/strict";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { check } from "../harness/command.ts";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { openFiles } from "../harness/processes.ts";
import type { Stdio } from "../harness/shim-client.ts";
import { fifoIn, Running } from "./running.ts";

const place = await Playground.create();
after(() => place.close());

const logger = join(place.directory, "logger");
writeFileSync(logger, "#!/bin/sh\nexec 5>&-\ncat <&3 >/dev/null & exec cat <&4 >/dev/null\n");
chmodSync(logger, 0o755);

const streams: Record<string, () => Stdio> = {
  pipes: () => ({ stdin: fifoIn(place, "in"), stdout: fifoIn(place, "out"), stderr: fifoIn(place, "err") }),
  terminal: () => ({ stdin: fifoIn(place, "in"), stdout: fifoIn(place, "out"), terminal: true }),
  files: () => ({
    stdout: `file://${join(place.directory, "out.log")}`,
    stderr: `file://${join(place.directory, "err.log")}`,
  }),
  "a terminal whose output goes to a file": () => ({
    stdout: `file://${join(place.directory, "screen.log")}`,
    terminal: true,
  }),
  "a terminal with a logger": () => ({ stdout: `binary://${logger}`, terminal: true }),
  logger: () => ({ stdin: fifoIn(place, "in"), stdout: `binary://${logger}`, stderr: `binary://${logger}` }),
};

for (const [kind, stdio] of Object.entries(streams)) {
  test(`an exec with ${kind} that fails for want of a descriptor leaves none open`, async () => {
    const id = `few-${kind.replaceAll(" ", "-")}`;
    const running = await Running.start(place, id);
    const shim = await running.shimPid();
    const before = openFiles(shim);
    let failures = 0;
    for (let spare = 0; ; spare++) {
      const execId = `e${spare}`;
      await running.shim.exec(id, execId, ["true"], stdio());
      await check(["prlimit", "--pid", String(shim), `--nofile=${before.length + spare}:`]);
      const failed = await running.shim.start(id, execId).then(
        () => false,
        () => true,
      );
      await check(["prlimit", "--pid", String(shim), "--nofile=1024:"]);
      if (failed) failures += 1;
      else await running.shim.wait(id, execId);
      await running.shim.delete(id, execId);
      await eventually(
        `no more open files than before, with ${spare} to spare`,
        () => openFiles(shim).join("\n") === before.join("\n"),
      );
      if (!failed) break;
      assert.ok(spare < 64, "it never succeeds");
    }
    assert.ok(failures > 3, `${failures} failures`);
    await running.end();
  });
}

test("a question to the runtime that fails for want of a descriptor leaves none open", async () => {
  const running = await Running.start(place, "asks");
  const shim = await running.shimPid();
  const before = openFiles(shim);
  let failures = 0;
  for (const ask of [() => running.shim.pids("asks"), () => running.shim.update("asks", {})]) {
    for (let spare = 0, failed = true; failed; spare++) {
      await check(["prlimit", "--pid", String(shim), `--nofile=${before.length + spare}:`]);
      failed = await ask().then(
        () => false,
        () => true,
      );
      await check(["prlimit", "--pid", String(shim), "--nofile=1024:"]);
      if (failed) failures += 1;
      assert.ok(spare < 64, "it never succeeds");
      await eventually(
        `no more open files than before, with ${spare} to spare`,
        () => openFiles(shim).join("\n") === before.join("\n"),
      );
    }
  }
  assert.ok(failures > 6, `${failures} failures`);
  await running.end();
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
