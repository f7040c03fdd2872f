import assert from "node:assert/strict";
import { test } from "node:test";
import { forEachBuild } from "./host-program.ts";

const failed = (code: string): Record<string, string> => {
  const reasons: Record<string, string> = { EPERM: "Operation not permitted", EBADF: "Bad file descriptor" };
  return { threw: "Error", message: `epoll_ctl: ${reasons[code]}`, code, syscall: "epoll_ctl" };
};

await forEachBuild("loop", (program) => {
  const shows = (behaviour: string, name: string, expected: unknown[], ...args: string[]): void => {
    test(behaviour, async () => assert.deepEqual(await program.reports(name, args), expected));
  };

  shows("timers fire by time, then in the order they were set", "timersInOrder", [
    ["0", "negative", "10 first", "10 second", "20"],
  ]);
  shows("a timer can clear one that is due at the same moment", "clearInTimer", ["first", "third"]);
  shows("timers that come at once leave room for descriptors", "timersDoNotStarve", [true]);
  shows("promise jobs run after each callback, before the next", "jobsAfterEachCallback", [
    ["a", "a job", "a second job", "b", "b job", "b second job"],
  ]);
  shows("watching again replaces callback and events", "rewatch", [
    ["readable", true, "x"],
    ["hangup", true],
  ]);
  shows("a write end without reader hangs up", "writeEndLosesReader", [["hangup", true]]);
  shows("a watch that ends within its batch is not called", "unwatchOther", [1]);
  shows("a descriptor that is opened again within its batch gets no old event", "reopenOther", [
    { calls: 1, stale: 0 },
  ]);
  shows("a callback can close and reopen its own descriptor", "closeAndReopenOwn", [
    ["same number", true],
    ["second", "second"],
  ]);
  shows("close ends a watch", "closeWhileWatched", [["read", "x"]]);
  shows(
    "files and closed descriptors cannot be watched",
    "refusedWatches",
    [failed("EPERM"), failed("EBADF"), failed("EBADF")],
    "/etc/passwd",
  );
  shows("an eventfd counts and the event bits are epoll's", "priority", [
    [2, 1, 4, 16],
    ["eventfd", true],
    ["counter", [2, 0, 0, 0, 0, 0, 0, 0]],
  ]);
  shows("signals arrive as numbers, and a second receiver replaces the first", "signals", [[10, 12, 15]]);
  shows("timers, watches and signals carry over a fork", "forkedLoop", [
    { status: 0 },
    ["child signal", "child timer", "child watch", "parent signal", "parent timer", "parent watch"],
  ]);
  shows("a fork within a batch leaves each process its own events", "forkInsideBatch", [
    { index: true, status: 0 },
    ["child second", "parent first", "parent second"],
  ]);
  shows("nothing left to wait for ends the program", "nothingToWaitFor", ["done"]);
  shows("clocks run", "clocks", [{ later: true, since2020: true }]);

  test("hundreds of timers fire in order, those cleared not at all", async () => {
    const [report] = await program.reports("manyTimers");
    assert.deepEqual(report, { fired: 333, sorted: true });
  });
});
