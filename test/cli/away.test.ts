// events and timeline -f across a restart of the daemon.
import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../harness/eventually.ts";
import { onDaemon } from "./cli.ts";

const { daemon, cli } = await onDaemon();

for (const [how, end] of [
  ["crashes", () => daemon.kill()],
  ["is stopped", () => daemon.stop()],
] as const) {
  test(`events and timeline -f go on when the daemon ${how} and is started again`, async () => {
    const name = `line-${how.replace(" ", "-")}`;
    daemon.ctr.ids.add(name);
    const run = ["run", "-d", "--name", name, "--rootfs", daemon.rootfs, "--", "sleep", "1000"];
    await cli.do(run);
    const events = cli.spawn(["events", "--topic", "/tasks/exit", "--json"]);
    const timeline = cli.spawn(["timeline", "-f", "--json", name]);
    await timeline.printed(/create/i);
    await eventually("the subscription", async () => {
      await cli.run(["exec", name, "sh", "-c", "exit 2"]);
      return /"exitStatus":2/.test(events.stdoutText);
    });
    await end();
    await Promise.all([events, timeline].map((each) => each.printed(/the daemon is away/)));
    await daemon.launch();
    await events.printed(/the daemon is back/);
    // A subscription stands a little after the daemon has answered.
    await eventually("an exit of an exec", async () => {
      await cli.run(["exec", name, "true"]);
      return /"exitStatus":0/.test(events.stdoutText);
    });
    await cli.do(["kill", "-s", "KILL", name]);
    await events.printed(/"exitStatus":137/);
    await timeline.printed(/exit status 137/);
    await cli.do(["wait", name]);
    await cli.do(["delete", name]);
    assert.equal((await timeline.exited).status, 0);
    const steps = timeline.stdoutText
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { at: string; what: string });
    const keys = steps.map(({ at, what }) => `${at} ${what.split(":")[0]}`);
    assert.deepEqual(keys, [...new Set(keys)], "a step is shown once");
    events.kill("SIGTERM");
    await events.exited;
  });
}

test("timeline -f ends when its container is deleted while the stream is broken off", async () => {
  daemon.ctr.ids.add("missed");
  await cli.do(["create", "--name", "missed", "--rootfs", daemon.rootfs, "--", "true"]);
  const timeline = cli.spawn(["timeline", "-f", "missed"]);
  await timeline.printed(/create|record/);
  process.kill(timeline.pid, "SIGSTOP");
  await daemon.crashAndRestart();
  await cli.do(["delete", "missed"]);
  process.kill(timeline.pid, "SIGCONT");
  assert.equal((await timeline.exited).status, 0);
});

test("a filter that makes no sense is refused at once, and ends it", async () => {
  const { status, stderr } = await cli.run(["events", "topic=="]);
  assert.equal(status, 1);
  assert.match(stderr, /^holdfast: [^\n]+\n$/);
});
