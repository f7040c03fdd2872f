// What systemd is told: that holdfastd is ready once it serves, and that it stops.
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";

const scratch = mkdtempSync(join(tmpdir(), "holdfast-notify-"));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** Stands in for systemd's program, which a machine without systemd lacks: writes down what it was told, and whether the daemon served by then. */
function recorder(told: string): string {
  const program = join(scratch, "systemd-notify");
  writeFileSync(program, `#!/bin/sh\necho "$2" "\${1%%=*}" >>${told}\n`);
  chmodSync(program, 0o755);
  return scratch;
}

test("systemd is told that the daemon is ready and that it stops; without systemd nothing is started", async () => {
  const told = join(scratch, "told");
  const pathDirectories = [recorder(told)];
  const quiet = await Daemon.start({ kind: "holdfastd", pathDirectories, env: { NOTIFY_SOCKET: "" } });
  await quiet.stop();
  assert.equal((await quiet.exited)?.status, 0, "a daemon that has just said that it serves ends in order");
  await quiet.close();
  assert.equal(existsSync(told), false);
  const daemon = await Daemon.start({
    kind: "holdfastd",
    pathDirectories,
    env: { NOTIFY_SOCKET: join(scratch, "socket") },
  });
  const lines = (): string[] => (existsSync(told) ? readFileSync(told, "utf8").trim().split("\n") : []);
  await eventually("the word that it is ready", () => lines().includes("READY=1 --pid"));
  await daemon.stop();
  await eventually("the word that it stops", () => lines().includes("STOPPING=1 --pid"));
  await daemon.close();
});
