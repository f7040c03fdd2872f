// Who is meant by a pid, played over a host of a few lines: what is rare on a real one, such as a pid that is used again between two looks.
// That real processes are reaped is shown by the tests of the shim.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Exit, Platform } from "../../src/platform/platform.ts";
import { type Child, Reaper } from "../../src/reaper/reaper.ts";

const SELF = 1;
const KEEPER = 2;

/** Children that have exited, processes by their parent, and a clock that is turned by hand. */
class FakeHost {
  readonly zombies: Exit[] = [];
  readonly parents = new Map<number, number>();
  /** Processes that have ended and are not reaped, with their wait status, and those that somebody else has reaped. */
  readonly ended = new Map<number, number>();
  readonly reaped = new Set<number>();
  now = 0;
  #timers: (() => void)[] = [];

  /** An orphan of ours has ended. */
  exit(pid: number, status: number): void {
    this.zombies.push({ pid, status, signal: 0 });
  }

  /** Lets all timers fire that are set now. */
  pass(): void {
    const due = this.#timers;
    this.#timers = [];
    for (const fire of due) fire();
  }

  platform(): Platform {
    const missing = (pid: number): never => {
      throw Object.assign(new Error("no such process"), { code: "ESRCH", syscall: "pidfd_open", pid });
    };
    return {
      clock: {
        monotonicMs: () => this.now,
        realtimeNs: () => 0n,
        after: (_ms: number, fire: () => void) => {
          this.#timers.push(fire);
          return { cancel: () => this.#timers.splice(this.#timers.indexOf(fire), 1) };
        },
      },
      fds: { watch() {}, unwatch() {}, close() {} },
      files: {
        read: (path: string) => {
          const pid = Number(path.split("/")[2]);
          const state = this.ended.has(pid) ? "Z" : "S";
          return `${pid} (a) b) ${state} ${this.parents.get(pid) ?? missing(pid)} 0 ${this.ended.get(pid) ?? 0}`;
        },
      },
      processes: {
        openPidfd: (pid: number) => (this.parents.has(pid) ? 1000 + pid : missing(pid)),
        reapAny: (leave: boolean) => (leave ? this.zombies[0] : this.zombies.shift()) ?? null,
        reapPid: (pid: number) =>
          this.zombies.splice(
            this.zombies.findIndex((exit) => exit.pid === pid),
            1,
          ),
        reapPidfd: () => null,
        pidfdExit: () => null,
        killPidfd: (pidfd: number) => {
          if (this.reaped.has(pidfd - 1000)) missing(pidfd - 1000);
        },
      },
      self: { pid: () => SELF },
      keeping: { keeper: () => ({ pid: KEEPER }), exit: () => null, takeExits() {} },
    } as unknown as Platform;
  }
}

test("a start that outlasts the sweep still learns how its process ended", async () => {
  const host = new FakeHost();
  const reaper = new Reaper(host.platform());
  const release = reaper.hold();
  host.exit(100, 7);
  reaper.childChanged();
  assert.equal(reaper.remembered, 0, "nothing is swept while a claim may be on its way");
  host.pass();
  assert.equal(reaper.remembered, 1);
  assert.equal((await reaper.claim(100).exited).status, 7);
  release();
});

test("what was swept before a hold began is not for it, and goes with the last hold that it is for", () => {
  const host = new FakeHost();
  const reaper = new Reaper(host.platform());
  let release = reaper.hold();
  // Holds that overlap without end, as in an exec storm: never is none out.
  for (let pid = 2; pid < 500; pid++) {
    host.exit(pid, 0);
    host.pass();
    const next = reaper.hold();
    release();
    release = next;
    assert.ok(reaper.remembered <= 1, `${reaper.remembered} after ${pid}`);
  }
  release();
  assert.equal(reaper.remembered, 0);
});

test("what one long hold remembers is bounded, and the newest is kept", async () => {
  const host = new FakeHost();
  const reaper = new Reaper(host.platform());
  const release = reaper.hold();
  for (let pid = 2; pid < 10_000; pid++) host.exit(pid, pid % 200);
  host.pass();
  assert.ok(reaper.remembered <= 1024, String(reaper.remembered));
  assert.equal((await reaper.claim(9_999).exited).status, 9_999 % 200);
  release();
  assert.equal(reaper.remembered, 0);
});

test("a claim of a pid that was swept and is a new child's by now is of the child", () => {
  const host = new FakeHost();
  const reaper = new Reaper(host.platform());
  const release = reaper.hold();
  host.exit(100, 7);
  host.pass();
  host.parents.set(100, SELF);
  const child = reaper.claim(100);
  let ended = false;
  void child.exited.then(() => {
    ended = true;
  });
  return Promise.resolve().then(() => {
    assert.equal(ended, false);
    release();
  });
});

test("a claim of a pid that was swept and is a process of somebody else's by now is of the one that ended", async () => {
  const host = new FakeHost();
  const reaper = new Reaper(host.platform());
  const release = reaper.hold();
  host.exit(100, 7);
  host.pass();
  host.parents.set(100, 55);
  assert.equal((await reaper.claim(100).exited).status, 7);
  release();
});

/** Whether it has been told how the child ended, and what. */
function watchExit(child: Child): { status: number | undefined } {
  const seen: { status: number | undefined } = { status: undefined };
  void child.exited.then(({ status }) => {
    seen.status = status;
  });
  return seen;
}

const settled = (): Promise<void> => new Promise((next) => setImmediate(next));

for (const [whose, parent] of [
  ["our own child, whose wake-up never came", SELF],
  ["a child of a keeper that hangs", KEEPER],
] as const) {
  test(`an exit that nobody tells of is found, with its status: ${whose}`, async () => {
    const host = new FakeHost();
    host.parents.set(100, parent);
    host.parents.set(101, parent);
    const reaper = new Reaper(host.platform());
    const seen = watchExit(reaper.adopt(100, 1100));
    const other = watchExit(reaper.adopt(101, 1101));
    assert.deepEqual(reaper.findOverlooked(), []);
    host.ended.set(100, 7 << 8);
    assert.deepEqual(reaper.findOverlooked(), [], "it may be on its way");
    host.now += 9_999;
    assert.deepEqual(reaper.findOverlooked(), [], "whoever looks again at once knows no more");
    host.now += 1;
    assert.deepEqual(reaper.findOverlooked(), [100]);
    await settled();
    assert.deepEqual([seen.status, other.status], [7, undefined]);
    host.now += 60_000;
    assert.deepEqual(reaper.findOverlooked(), [], "once");
    host.pass();
    host.now += 60_000;
    assert.deepEqual(reaper.findOverlooked(), []);
  });
}

test("a process that somebody else has reaped is gone with a status that nobody knows", async () => {
  const host = new FakeHost();
  host.parents.set(100, KEEPER);
  const reaper = new Reaper(host.platform());
  const seen = watchExit(reaper.adopt(100, 1100));
  host.reaped.add(100);
  // The number is another's by now.
  reaper.findOverlooked();
  host.now += 10_000;
  assert.deepEqual(reaper.findOverlooked(), [100]);
  await settled();
  assert.equal(seen.status, 255);
});
