// What is remembered of containers, over a real store: ends are published once however much happens in between, and what is kept has bounds.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import type { EventFields } from "../../src/api/event-types.ts";
import type { Envelope } from "../../src/api/generated/events.ts";
import { Cause, HistoryRecord } from "../../src/api/generated/history.ts";
import { nsFromTimestamp, timestampFromNs } from "../../src/api/timestamp.ts";
import { Histories } from "../../src/manager/records/history.ts";
import { Store } from "../../src/manager/records/store.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-histories-"));
after(() => rmSync(directory, { recursive: true }));

const NS = "n";
const ID = "c";
const unexpected = (error: unknown): never => assert.fail(String(error));
let store: Store;
let histories: Histories;
let clock = 1_000n;
let round = 0;

async function reopen(): Promise<void> {
  await store.close();
  store = new Store(join(directory, String(round)));
  await store.load(({ reason }) => assert.fail(reason));
  histories = new Histories(store.histories, unexpected);
}

beforeEach(async () => {
  round += 1;
  store = new Store(join(directory, String(round)));
  await store.load(({ reason }) => assert.fail(reason));
  histories = new Histories(store.histories, unexpected);
  histories.open(NS, ID);
});
afterEach(async () => {
  // What is written soon is written before.
  await setImmediate();
  await store.close();
});

/** As the exchange does it. Returns whether it is new. */
function publish(topic: string, fields: EventFields = {}, at: bigint = ++clock): boolean {
  const envelope: Envelope = { timestamp: timestampFromNs(at), namespace: NS, topic, event: undefined };
  const whole = { containerId: ID, ...fields };
  const isNew = histories.note(envelope, whole);
  if (isNew) histories.published(envelope, whole);
  return isNew;
}

function live(pid = 7): void {
  publish("/tasks/create", { pid });
  publish("/tasks/start", { pid });
}

const exit = (exitStatus = 0, pid = 7): EventFields => ({
  id: ID,
  pid,
  exitStatus,
  exitedAt: timestampFromNs(++clock),
});

for (const when of ["before its end", "after its end"]) {
  test(`hundreds of execs ${when} do not make it forget what was created and published`, async () => {
    const execs = (): void => {
      for (let n = 0; n < 300; n++) {
        publish("/tasks/exec-added", { execId: `e${n}` });
        publish("/tasks/exit", { id: `e${n}`, pid: 100 + n, exitStatus: 0 });
      }
    };
    live();
    if (when === "before its end") execs();
    assert.equal(histories.wasCreated(NS, ID), true);
    assert.equal(histories.isEndPublished(NS, ID), false);
    assert.equal(publish("/tasks/exit", exit(3)), true);
    if (when === "after its end") execs();
    await reopen();
    histories.open(NS, ID);
    assert.equal(histories.wasCreated(NS, ID), true);
    assert.equal(histories.isEndPublished(NS, ID), true);
    assert.equal(publish("/tasks/exit", exit(137)), false, "its end is not published twice");
    assert.equal(histories.ended(NS, ID)?.status, 3);
    assert.deepEqual(histories.unpublished(), []);
  });
}

test("the steps are the newest 64, in their order", () => {
  live();
  for (let n = 0; n < 100; n++)
    histories.noteStep(NS, ID, {
      at: timestampFromNs(++clock),
      what: `call ${n}`,
      execId: "",
      tookNs: 1n,
      detail: "",
    });
  const steps = histories.find(NS, ID)?.steps ?? [];
  assert.deepEqual(
    steps.map(({ what }) => what),
    Array.from({ length: 64 }, (_, n) => `call ${36 + n}`),
  );
});

test("an event that comes again is recognised, also by the next daemon; one of another time is not the same", async () => {
  live();
  assert.equal(publish("/tasks/oom", {}, 5000n), true);
  assert.equal(publish("/tasks/oom", {}, 5000n), false);
  await reopen();
  histories.open(NS, ID);
  assert.equal(publish("/tasks/oom", {}, 5000n), false);
  assert.equal(publish("/tasks/oom", {}, 5001n), true);
});

test("a task that is made anew has an end of its own, also one with the pid of the one before", () => {
  for (const status of [1, 2]) {
    live(7);
    assert.equal(publish("/tasks/exit", exit(status)), true);
    assert.equal(publish("/tasks/delete", { pid: 7, exitStatus: status }), true);
    assert.equal(publish("/tasks/delete", { pid: 7, exitStatus: status }), false);
    assert.equal(histories.ended(NS, ID)?.status, status);
  }
});

test("the end of a task whose events never came is to be published; of one that was never made it is not", () => {
  const end = { pid: 9, exitStatus: 137, exitedAt: timestampFromNs(++clock) };
  histories.noteEnd(NS, ID, end);
  assert.deepEqual(histories.unpublished(), []);
  histories.noteCreated(NS, ID, 9);
  assert.equal(histories.wasCreated(NS, ID), true);
  assert.equal(histories.ended(NS, ID), undefined, "what was noted before was of another task");
  histories.noteEnd(NS, ID, end);
  assert.deepEqual(histories.unpublished(), [{ namespace: NS, id: ID, end }]);
});

test("making a task that is known by its events changes nothing", () => {
  live(7);
  publish("/tasks/exit", exit(4, 7));
  histories.noteCreated(NS, ID, 7);
  assert.equal(histories.ended(NS, ID)?.status, 4);
  assert.equal(histories.isEndPublished(NS, ID), true);
});

test("an exit that was published is not changed by what is found out later", () => {
  live();
  publish("/tasks/exit", exit(5));
  histories.noteEnd(NS, ID, { pid: 7, exitStatus: 5, exitedAt: histories.ended(NS, ID)?.exitedAt });
  const { status, cause } = histories.ended(NS, ID) ?? {};
  assert.deepEqual([status, cause], [5, Cause.CAUSE_EXITED]);
});

test("a task has started no later than it ended", () => {
  publish("/tasks/create", { pid: 7 });
  publish("/tasks/exit", { id: ID, pid: 7, exitStatus: 0, exitedAt: timestampFromNs(2_000n) });
  publish("/tasks/start", { pid: 7 }, 9_000n);
  const { startedAt, exitedAt } = histories.ended(NS, ID) ?? {};
  assert.ok(startedAt !== undefined && exitedAt !== undefined);
  assert.equal(nsFromTimestamp(startedAt), nsFromTimestamp(exitedAt));
});

test("why it ended: by itself, for want of memory, by a signal, and who asked for that", () => {
  const causes: [status: number, happened: () => void, cause: Cause, detail: RegExp][] = [
    [3, () => {}, Cause.CAUSE_EXITED, /^exit status 3$/],
    [137, () => publish("/tasks/oom"), Cause.CAUSE_OOM, /want of memory/],
    [1, () => publish("/tasks/oom"), Cause.CAUSE_EXITED, /^exit status 1$/],
    [139, () => {}, Cause.CAUSE_SIGNAL, /^signal 11, not through/],
    [
      143,
      () => histories.noteKill(NS, ID, { signal: 15, by: "ctr", toDelete: false }),
      Cause.CAUSE_KILL_REQUEST,
      /^signal 15, asked for by ctr$/,
    ],
    [
      137,
      () => histories.noteKill(NS, ID, { signal: 9, by: "x", toDelete: true }),
      Cause.CAUSE_DELETED_BY_FORCE,
      /^signal 9, asked for by x$/,
    ],
    [
      0,
      () => histories.noteKill(NS, ID, { signal: 15, by: "ctr", toDelete: false }),
      Cause.CAUSE_EXITED,
      /^exit status 0 after signal 15, asked for by ctr$/,
    ],
    [
      143,
      () => histories.noteKill(NS, ID, { signal: 15, by: "ctr", toDelete: false })(),
      Cause.CAUSE_SIGNAL,
      /not through/,
    ],
    [
      137,
      () => histories.noteKill(NS, ID, { signal: 15, by: "ctr", toDelete: false }),
      Cause.CAUSE_SIGNAL,
      /^signal 9, not through/,
    ],
    [255, () => {}, Cause.CAUSE_EXITED, /^exit status 255$/],
  ];
  for (const [status, happened, cause, detail] of causes) {
    live();
    happened();
    publish("/tasks/exit", exit(status));
    const known = histories.ended(NS, ID);
    assert.equal(known?.cause, cause, `${status}: ${known?.causeDetail}`);
    assert.match(known?.causeDetail ?? "", detail);
  }
});

test("a container that was removed by the daemon is remembered, and the next of its name knows nothing of it", async () => {
  live();
  publish("/tasks/exit", exit(6));
  histories.retire(NS, ID);
  for (const restarted of [false, true]) {
    if (restarted) {
      await reopen();
      histories.removeOrphans();
    }
    assert.equal(histories.find(NS, ID)?.exit?.status, 6);
    assert.equal(histories.ended(NS, ID), undefined);
  }
  histories.open(NS, ID);
  assert.deepEqual(histories.find(NS, ID), { startedAt: undefined, exit: undefined, steps: [] });
  assert.equal(histories.isEndPublished(NS, ID), false);
});

test("of those the newest 256 are remembered", async () => {
  for (let n = 0; n < 300; n++) {
    histories.open(NS, `r${n}`);
    histories.retire(NS, `r${n}`);
  }
  const known = (): number[] =>
    Array.from({ length: 300 }, (_, n) => n).filter((n) => histories.find(NS, `r${n}`) !== undefined);
  const newest = Array.from({ length: 256 }, (_, n) => 44 + n);
  assert.deepEqual(known(), newest);
  await reopen();
  histories.removeOrphans();
  assert.deepEqual(known(), newest);
  assert.equal(store.histories.ids(NS).length, 256);
});

test("a record of a version that kept no marks is read by its steps", () => {
  const step = (what: string) => ({ at: timestampFromNs(++clock), what, execId: "", tookNs: 0n, detail: "" });
  const pastExit = {
    pid: 7,
    status: 2,
    exitedAt: timestampFromNs(5n),
    startedAt: undefined,
    oom: false,
    usage: undefined,
    cause: Cause.CAUSE_UNKNOWN,
    causeDetail: "",
  };
  const again = step("/tasks/exit");
  store.histories.putNow(
    NS,
    "old",
    HistoryRecord.decode(
      HistoryRecord.encode({ exit: pastExit, steps: [step("/tasks/create"), again], recent: [] }).finish(),
    ),
  );
  histories.open(NS, "old");
  assert.deepEqual([histories.wasCreated(NS, "old"), histories.isEndPublished(NS, "old")], [true, true]);
  store.histories.putNow(NS, "unpublished", { exit: pastExit, steps: [step("/tasks/create")], recent: [] });
  histories.open(NS, "unpublished");
  assert.equal(histories.isEndPublished(NS, "unpublished"), false);
  assert.deepEqual(
    histories.unpublished().map(({ id }) => id),
    ["unpublished"],
  );
});
