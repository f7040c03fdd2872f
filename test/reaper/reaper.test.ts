// Who is meant by a pid, played over a host of a few lines: what is rare on a real one, such as a pid that is used again between two looks.
// That real processes are reaped is shown by the tests of the shim.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Exit, Platform } from "../../src/platform/platform.ts";
import { Reaper } from "../../src/reaper/reaper.ts";

const SELF = 1;

/** Children that have exited, processes by their parent, and a clock that is turned by hand. */
class FakeHost {
  readonly zombies: Exit[] = [];
  readonly parents = new Map<number, number>();
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
        after: (_ms: number, fire: () => void) => {
          this.#timers.push(fire);
          return { cancel: () => this.#timers.splice(this.#timers.indexOf(fire), 1) };
        },
      },
      fds: { watch() {}, unwatch() {}, close() {} },
      files: {
        read: (path: string) => {
          const pid = Number(path.split("/")[2]);
          return `${pid} (a) b) S ${this.parents.get(pid) ?? missing(pid)} 0 0`;
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
        killPidfd() {},
      },
      self: { pid: () => SELF },
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
