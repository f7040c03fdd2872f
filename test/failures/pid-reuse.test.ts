// A number that names another process than it did a moment ago (containerd issues 5630, 2832).
import assert from "node:assert/strict";
import { release } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { run } from "../harness/command.ts";
import { times } from "./size.ts";

const PIDS = 500;
const inFewPids = `mount -t proc proc /proc && echo ${PIDS} >/proc/sys/kernel/pid_max && exec "$@"`;

async function unshared(...command: string[]): Promise<Awaited<ReturnType<typeof run>>> {
  const namespaces = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--propagation", "private"];
  return run([...namespaces, "sh", "-c", inFewPids, "sh", ...command], { timeoutMs: 300_000 });
}

// Before Linux 6.14 pid_max is the whole machine's, and not to be touched. A namespace of its own has its own: the machine's stays.
const [major = 0, minor = 0] = release().split(".").map(Number);
const skip =
  major > 6 || (major === 6 && minor >= 14)
    ? false
    : "pid_max is not a pid namespace's own before Linux 6.14";

test("with few pids, each used again and again, every exit status is its own process's (5630, 2832)", {
  skip,
}, async () => {
  const rounds = times(120, 3000);
  const inside = join(import.meta.dirname, "pid-reuse.ts");
  const output = await unshared(process.execPath, "--import", "tsx", inside, String(rounds));
  assert.equal(output.status, 0, output.stderr);
  const seen = JSON.parse(output.stdout);
  assert.equal(seen.rounds, rounds);
  assert.equal(seen.pidMax, PIDS);
  assert.ok(seen.reused > 0, "no pid came round again");
});
