// Exit statuses as a user of ctr sees them: every code of a process, and the end by every signal.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Daemon } from "../harness/daemon.ts";
import { exitStatusOf } from "../harness/events.ts";
import { inParallel } from "../harness/parallel.ts";

const daemon = await Daemon.start();
const events = await daemon.events();
after(() => daemon.close());

// A cross-section for whole containers, which cost more than execs: the ends of the range, and the codes shells give a meaning.
const CONTAINER_CODES = [0, 1, 2, 42, 125, 126, 127, 128, 129, 137, 143, 254, 255];

test("ctr run exits with the container's exit code", async () => {
  await inParallel(4, CONTAINER_CODES, async (code) => {
    const output = await daemon.ctr.run(`exit-${code}`, ["sh", "-c", `exit ${code}`]);
    assert.equal(output.status, code);
    assert.equal(exitStatusOf(await events.exitOf(`exit-${code}`)), code);
    assert.equal(exitStatusOf(await events.topicOf("/tasks/delete", `exit-${code}`)), code);
  });
});

test("ctr tasks exec exits with the process's exit code, for every code from 0 to 255", async () => {
  await daemon.ctr.start("codes", ["sleep", "1000"]);
  const codes = Array.from({ length: 256 }, (_, code) => code);
  await inParallel(6, codes, async (code) => {
    const output = await daemon.ctr.exec("codes", `code-${code}`, ["sh", "-c", `exit ${code}`]);
    assert.equal(output.status, code, output.stderr);
    assert.equal(exitStatusOf(await events.exitOf("codes", `code-${code}`)), code);
  });
  await daemon.ctr.remove("codes");
});

test("nothing is left behind", async () => assert.equal(await daemon.leftovers(), ""));
