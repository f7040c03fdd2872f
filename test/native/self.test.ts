import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { forEachBuild } from "./host-program.ts";

const kinds = [
  "nothing",
  "watch",
  "timer",
  "signals",
  "relay",
  "child",
  "promise",
  "await",
  "blockedRelay",
  "receiver",
  "bytes",
];

await forEachBuild("self", (program) => {
  for (const from of ["top", "timer", "job"]) {
    test(`exit from ${from} with each kind of live handle`, async () => {
      for (const kind of kinds) {
        const { status, signal, stderr } = await program.run("exitWith", [kind, from]);
        assert.deepEqual({ kind, status, signal, stderr }, { kind, status: 7, signal: null, stderr: "" });
      }
    });
  }

  test("the natural end frees everything", async () => {
    for (const kind of ["nothing", "promise", "await", "receiver", "bytes", "child"]) {
      assert.deepEqual(await program.reports("endWith", [kind]), ["ended"]);
    }
  });

  test("exit from inside a relay's end and a signal", async () => {
    for (const name of ["exitInRelayEnd", "exitInSignal"]) assert.equal((await program.run(name)).status, 7);
    const [refused] = await program.reports("badExit");
    assert.equal((refused as { threw: string }).threw, "RangeError");
  });

  test("arguments, environment, directory and name", async () => {
    const env = { HOLDFAST_TEST: "value = with equals é" };
    const [identity, directory] = await program.reports("identity", ["a", "é b", ""], { env });
    assert.deepEqual(identity, {
      argv: ["identity", "a", "é b", ""],
      environment: env.HOLDFAST_TEST,
      pid: true,
      parent: true,
    });
    assert.equal(directory, process.cwd());
  });

  test("a forked child leads a session of its own", async () => {
    assert.deepEqual(await program.reports("sessions"), [3]);
  });

  test("a subreaper gets orphans", async () => {
    assert.deepEqual(await program.reports("subreaper"), [{ right: true, status: 23 }]);
  });

  if (program.build === "sanitize") return; // whose memory is not the product's

  test("memory after a burst is what it was before", async () => {
    const [report] = await program.reports("memoryAfterBurst");
    const { grown, peakAbove, allocatedMore, objectsMore } = report as Record<string, number>;
    assert.ok((peakAbove ?? 0) > 1024, `the burst was none: ${peakAbove} KiB`);
    assert.ok((grown ?? 9999) < 512, `${grown} KiB more after it`);
    assert.ok((allocatedMore ?? 99999) < 16384 && (objectsMore ?? 999) < 100, JSON.stringify(report));
  });

  test("an idle program fits into 2.2 MB", async () => {
    const [resident] = await program.reports("idleMemory");
    assert.ok((resident as number) < 2200, `${resident} KiB`);
  });

  test("the engine's parser is not linked in", () => {
    const image = readFileSync(program.path);
    assert.ok(image.includes("stack overflow"), "the engine's own texts can be found");
    for (const text of ["missing formal parameter", "unexpected end of regexp", "invalid date"])
      assert.ok(!image.includes(text), text);
  });
});
