// `logs` of a container that is started again, of a file that is cut or replaced, and two who want the same output.
import assert from "node:assert/strict";
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Running } from "../harness/command.ts";
import { eventually } from "../harness/eventually.ts";
import { onDaemon } from "./cli.ts";

const { daemon, cli } = await onDaemon();
const directory = mkdtempSync(join(tmpdir(), "holdfast-logs-"));
after(() => rmSync(directory, { recursive: true }));

test("logs have the lines of all starts, and those of a new container begin anew", async () => {
  daemon.ctr.ids.add("starts");
  const line = ["--name", "starts", "--rootfs", daemon.rootfs, "--", "sh", "-c", "echo again"];
  await cli.do(["run", "-d", ...line]);
  for (let start = 1; start < 3; start++) {
    await cli.do(["wait", "starts"]);
    await cli.do(["start", "starts"]);
  }
  await cli.do(["wait", "starts"]);
  assert.equal(await cli.do(["logs", "starts"]), "again\nagain\nagain\n");
  // Its log stays, as that of a container that somebody else has deleted does.
  await daemon.ctr.try(["tasks", "delete", "starts"]);
  await daemon.ctr.try(["containers", "delete", "starts"]);
  await cli.do(["run", "-d", ...line]);
  await cli.do(["wait", "starts"]);
  assert.equal(await cli.do(["logs", "starts"]), "again\n");
  await cli.do(["delete", "starts"]);
});

/** Follows a file in a process of its own, until "end" is typed. */
function following(path: string): Running {
  const script = `
    import { follow } from ${JSON.stringify(join(import.meta.dirname, "../../src/cli/session/log-files.ts"))};
    await follow(process.argv[1], 0, new Promise((end) => process.stdin.once("data", end)));
    process.exit(0);`;
  return new Running([process.execPath, "--import", "tsx", "--input-type=module", "-e", script, path], {
    stdin: "pipe",
  });
}

test("a log that is cut short is followed from its beginning, also if it has grown past where it was", async () => {
  const path = join(directory, "cut.log");
  writeFileSync(path, "one\ntwo\n");
  const log = following(path);
  await log.printed(/two\n/);
  truncateSync(path);
  appendFileSync(path, "three\n");
  await log.printed(/three\n/);
  // At one blow: nobody can see it short.
  writeFileSync(path, "four is longer than what there was\n");
  await log.printed(/four is longer than what there was\n/);
  appendFileSync(path, "five\n");
  log.stdin.write("end");
  assert.equal((await log.exited).stdout, "one\ntwo\nthree\nfour is longer than what there was\nfive\n");
});

test("a log that is rotated away is read to its end, and the next one from its beginning", async () => {
  const path = join(directory, "rotated.log");
  writeFileSync(path, "one\n");
  const log = following(path);
  await log.printed(/one\n/);
  renameSync(path, `${path}.1`);
  appendFileSync(`${path}.1`, "last of the old\n");
  writeFileSync(path, "first of the new\n");
  await log.printed(/first of the new\n/);
  appendFileSync(path, "more\n");
  log.stdin.write("end");
  assert.equal((await log.exited).stdout, "one\nlast of the old\nfirst of the new\nmore\n");
});

/** Whether a process has an inotify descriptor. */
function watches(pid: number): boolean {
  const directory = `/proc/${pid}/fd`;
  return readdirSync(directory).some((fd) => {
    try {
      return readlinkSync(join(directory, fd)) === "anon_inode:inotify";
    } catch {
      return false;
    }
  });
}

test("two attached to a container with a log both see all", async () => {
  daemon.ctr.ids.add("both");
  const script = "until [ -e /tmp/both-go ]; do sleep 0.05; done; for i in 1 2 3 4 5; do echo line $i; done";
  await cli.do(["run", "-d", "--name", "both", "--rootfs", daemon.rootfs, "--", "sh", "-c", script]);
  const two = [cli.spawn(["attach", "both"]), cli.spawn(["attach", "both"])];
  // What is printed before somebody attaches is not for them.
  await eventually("both to follow", () => two.every(({ pid }) => watches(pid)));
  await daemon.touch("both-go");
  for (const each of two)
    assert.equal((await each.exited).stdout, "line 1\nline 2\nline 3\nline 4\nline 5\n");
  await cli.do(["delete", "both"]);
});

test("a second one in front is refused, with the reason, and takes nothing of the first one's output", async () => {
  daemon.ctr.ids.add("front");
  const script =
    "echo up; until [ -e /tmp/front-go ]; do sleep 0.05; done; for i in 1 2 3 4 5; do echo line $i; done";
  const first = cli.spawn(["run", "--name", "front", "--rootfs", daemon.rootfs, "--", "sh", "-c", script]);
  await first.printed(/up/);
  const second = await cli.run(["attach", "front"]);
  assert.deepEqual([second.status, second.stdout], [125, ""]);
  assert.match(second.stderr, new RegExp(`cannot attach: .*pid ${first.pid}\\) has its output`));
  await daemon.touch("front-go");
  assert.equal((await first.exited).stdout, "up\nline 1\nline 2\nline 3\nline 4\nline 5\n");
  await cli.do(["delete", "front"]);
});
