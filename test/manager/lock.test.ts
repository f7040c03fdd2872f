// Real processes that want the same directory.
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { acquireLock } from "../../src/manager/lock.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-lock-"));
after(() => rmSync(directory, { recursive: true }));

const children = new Set<ChildProcess>();
afterEach(async () => {
  await Promise.all([...children].map(kill));
});

async function told(child: ChildProcess): Promise<string> {
  const [message] = await once(child, "message");
  return String(message);
}

/** A process that is about to take the lock. */
async function contender(address: string): Promise<ChildProcess> {
  const program = fileURLToPath(new URL("lock-holder.ts", import.meta.url));
  const child = fork(program, [directory, address], { execArgv: ["--import", "tsx"] });
  children.add(child);
  assert.equal(await told(child), "ready");
  return child;
}

async function take(child: ChildProcess): Promise<string> {
  child.send("take");
  return await told(child);
}

async function kill(child: ChildProcess): Promise<void> {
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
  children.delete(child);
}

test("the second is refused and told who the first is, also when that one is stopped", async () => {
  const first = await contender("/run/first.sock");
  assert.equal(await take(first), "held");
  const refusal = new RegExp(
    `^${directory} is in use by holdfastd pid ${first.pid}, which serves /run/first\\.sock since 20\\d\\d-`,
  );
  await assert.rejects(acquireLock(directory, "/run/second.sock"), { message: refusal });
  first.kill("SIGSTOP");
  await assert.rejects(acquireLock(directory, "/run/second.sock"), { message: refusal });
});

test("of two that start at once on what a killed one has left, one wins, every time", async () => {
  const pair = [await contender("/run/a.sock"), await contender("/run/b.sock")];
  for (let round = 0; round < 10; round++) {
    const answers = await Promise.all(pair.map(take));
    const winner = answers.indexOf("held");
    assert.equal(answers.filter((answer) => answer === "held").length, 1, answers.join("\n"));
    assert.match(answers[1 - winner] ?? "", /is in use by (holdfastd pid \d+, which|another holdfastd)/);
    const [killed] = pair.splice(winner, 1, await contender("/run/next.sock"));
    if (killed !== undefined) await kill(killed);
  }
});

test("a lock that was released can be taken again, by the same process too", async () => {
  const lock = await acquireLock(directory, "/run/a.sock");
  await assert.rejects(acquireLock(directory, "/run/b.sock"), {
    message: new RegExp(`pid ${process.pid}, which`),
  });
  lock.release();
  (await acquireLock(directory, "/run/c.sock")).release();
});

test("a killed holder's shims do not keep its lock", async () => {
  const holder = await contender("/run/a.sock");
  assert.equal(await take(holder), "held");
  holder.send("start a program");
  const program = Number(await told(holder));
  try {
    await kill(holder);
    (await acquireLock(directory, "/run/b.sock")).release();
  } finally {
    process.kill(program, "SIGKILL");
  }
});

test("rubbish in the file is no obstacle", async () => {
  writeFileSync(join(directory, "holdfastd.lock"), "{rubbish");
  const lock = await acquireLock(directory, "/run/a.sock");
  lock.release();
});

test("a directory that is not there is named", async () => {
  await assert.rejects(
    acquireLock(join(directory, "nowhere"), "/run/a.sock"),
    /ENOENT.*nowhere\/holdfastd\.lock/,
  );
});
