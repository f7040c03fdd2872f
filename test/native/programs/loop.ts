// Cases of watches, timers and signals.
import * as host from "holdfast:host";
import { attempt, readNow, report, sendSignal } from "./report.ts";

const byte: Uint8Array = host.encodeUtf8("x");

export const loopCases = {
  timersInOrder(): void {
    const order: string[] = [];
    host.setTimer(20, () => order.push("20"));
    host.setTimer(10, () => order.push("10 first"));
    host.setTimer(10, () => order.push("10 second"));
    host.setTimer(0, () => order.push("0"));
    host.setTimer(-5, () => order.push("negative"));
    const cleared = host.setTimer(5, () => order.push("cleared"));
    host.clearTimer(cleared);
    host.clearTimer(cleared);
    host.setTimer(30, () => report(order));
  },
  clearInTimer(): void {
    const second = { id: 0 };
    host.setTimer(1, () => {
      host.clearTimer(second.id);
      report("first");
    });
    second.id = host.setTimer(1, () => report("second"));
    host.setTimer(2, () => report("third"));
  },
  /** Timers that set themselves again at once leave room for descriptors. */
  timersDoNotStarve(): void {
    const [readEnd, writeEnd] = host.pipe();
    let turns = 0;
    let over = false;
    const again = (): void => {
      turns++;
      if (turns === 5) host.write(writeEnd, byte);
      if (!over) host.setTimer(0, again);
    };
    again();
    host.watch(readEnd, host.READABLE, () => {
      over = true;
      host.unwatch(readEnd);
      report(turns >= 5);
    });
  },
  manyTimers(): void {
    // When each was due: its time was taken somewhere between two readings of the clock.
    const fired: { earliest: number; latest: number }[] = [];
    const ids: number[] = [];
    for (let i = 0; i < 500; i++) {
      const delay = (i * 7919) % 50;
      const due = { earliest: host.monotonicMs() + delay, latest: 0 };
      ids.push(host.setTimer(delay, () => fired.push(due)));
      due.latest = host.monotonicMs() + delay;
    }
    for (let i = 0; i < 500; i += 3) host.clearTimer(ids[i] ?? 0);
    host.setTimer(100, () => {
      const sorted = fired.every(({ latest }, i) => i === 0 || latest >= (fired[i - 1]?.earliest ?? 0));
      report({ fired: fired.length, sorted });
    });
  },
  jobsAfterEachCallback(): void {
    const order: string[] = [];
    for (const name of ["a", "b"]) {
      host.setTimer(1, () => {
        order.push(name);
        Promise.resolve()
          .then(() => order.push(`${name} job`))
          .then(() => order.push(`${name} second job`));
      });
    }
    host.setTimer(2, () => report(order));
  },
  /** A watch that is replaced calls the new callback, with the new events. */
  rewatch(): void {
    const [readEnd, writeEnd] = host.pipe();
    host.watch(readEnd, host.READABLE, () => report("old callback"));
    host.watch(readEnd, host.READABLE, (events) => {
      report(["readable", events === host.READABLE, readNow(readEnd)]);
      host.watch(readEnd, 0, (later) => {
        report(["hangup", later === host.HANGUP]);
        host.unwatch(readEnd);
        host.unwatch(readEnd);
      });
      host.close(writeEnd);
    });
    host.write(writeEnd, byte);
  },
  writeEndLosesReader(): void {
    const [readEnd, writeEnd] = host.pipe();
    host.watch(writeEnd, 0, (events) => {
      report(["hangup", events === host.HANGUP]);
      host.unwatch(writeEnd);
    });
    host.close(readEnd);
  },
  /** Two descriptors ready in one batch; the first callback takes the second away. */
  unwatchOther(): void {
    const pipes = [host.pipe(), host.pipe()];
    const calls: number[] = [];
    pipes.forEach(([readEnd], index) => {
      host.watch(readEnd, host.READABLE, () => {
        calls.push(index);
        for (const [each] of pipes) host.unwatch(each);
      });
    });
    for (const [, writeEnd] of pipes) host.write(writeEnd, byte);
    host.setTimer(5, () => report(calls.length));
  },
  /** A descriptor that is closed and opened again in the same batch must not get the old one's event. */
  reopenOther(): void {
    const pipes = [host.pipe(), host.pipe()] as const;
    let calls = 0;
    let stale = 0;
    pipes.forEach(([readEnd], index) => {
      host.watch(readEnd, host.READABLE, () => {
        calls++;
        const [other, otherWriter] = pipes[1 - index] ?? pipes[0];
        host.unwatch(readEnd);
        host.unwatch(other);
        host.close(other);
        host.close(otherWriter);
        const [fresh] = host.pipe(); // empty: nothing can make it readable
        if (fresh !== other) report("the number was not used again");
        host.watch(fresh, host.READABLE, () => stale++);
      });
    });
    for (const [, writeEnd] of pipes) host.write(writeEnd, byte);
    host.setTimer(5, () => {
      report({ calls, stale });
      host.exit(0);
    });
  },
  closeAndReopenOwn(): void {
    const [readEnd, writeEnd] = host.pipe();
    host.watch(readEnd, host.READABLE, () => {
      host.unwatch(readEnd);
      host.close(readEnd);
      const [again, otherEnd] = host.pipe();
      host.watch(again, host.READABLE, () => {
        report(["second", readNow(again)]);
        host.exit(0);
      });
      host.setTimer(2, () => host.write(otherEnd, host.encodeUtf8("second")));
      report(["same number", again === readEnd]);
    });
    host.write(writeEnd, byte);
  },
  /** Closed without unwatch, against the rule: the loop survives. */
  closeWhileWatched(): void {
    const [readEnd, writeEnd] = host.pipe();
    host.watch(readEnd, host.READABLE, () => report("unexpected"));
    host.close(readEnd);
    const [again, otherEnd] = host.pipe();
    host.watch(again, host.READABLE, () => {
      report(["read", readNow(again)]);
      host.exit(0);
    });
    host.write(otherEnd, byte);
    host.close(writeEnd);
  },
  refusedWatches(path: string): void {
    const file = host.open(path, host.O_RDONLY);
    report(attempt(() => host.watch(file, host.READABLE, () => {})));
    report(attempt(() => host.watch(-1, host.READABLE, () => {})));
    report(attempt(() => host.watch(987, host.READABLE, () => {})));
  },
  priority(): void {
    report([host.PRIORITY, host.READABLE, host.WRITABLE, host.HANGUP]);
    const event = host.eventFd();
    host.watch(event, host.READABLE | host.WRITABLE, (events) => {
      report(["eventfd", events === host.WRITABLE]);
      host.write(event, new Uint8Array([2, 0, 0, 0, 0, 0, 0, 0]));
      host.watch(event, host.READABLE, () => {
        report(["counter", [...(host.read(event, 8) ?? [])]]);
        host.unwatch(event);
      });
    });
  },
  signals(): void {
    const seen: number[] = [];
    host.onSignals([10, 12], (signal) => {
      seen.push(signal);
      if (seen.length === 2) {
        // A second call replaces the receiver and keeps the process alive.
        host.onSignals([10, 15], (later) => {
          report([...seen.sort(), later]);
          host.exit(0);
        });
        sendSignal(15);
      }
    });
    sendSignal(10);
    sendSignal(12);
  },
  /** Timers, watches and signals set before a fork work in both processes; each has its own loop. */
  forkedLoop(): void {
    const [readEnd, writeEnd] = host.pipe();
    const [told, tell] = host.pipe();
    let who = "parent";
    let missing = 2; // in the parent: its own signal, and the end of its child
    let status: number | undefined;
    const done = (): void => {
      if (--missing > 0) return;
      report({ status });
      report(readNow(told).trimEnd().split("\n").sort());
      host.exit(0);
    };
    host.onSignals([10], () => {
      host.write(tell, host.encodeUtf8(`${who} signal\n`));
      if (who === "child") host.exit(0);
      done();
    });
    host.setTimer(5, () => {
      host.write(tell, host.encodeUtf8(`${who} timer\n`));
      sendSignal(10); // after the watch, whose event was there from the first turn
    });
    host.watch(readEnd, host.READABLE, () => {
      host.unwatch(readEnd);
      host.write(tell, host.encodeUtf8(`${who} watch\n`));
    });
    host.write(writeEnd, byte); // level-triggered, and read by nobody: both see it
    const child = host.fork();
    if (child === 0) {
      who = "child";
      return;
    }
    const pidfd = host.openPidfd(child);
    host.watch(pidfd, host.READABLE, () => {
      host.unwatch(pidfd);
      status = host.reapPidfd(pidfd)?.status;
      done();
    });
  },
  /** A fork inside a callback while another event of the same batch waits: parent and child each handle it once. */
  forkInsideBatch(): void {
    const pipes = [host.pipe(), host.pipe()];
    const [told, tell] = host.pipe();
    let forked = -1;
    let who = "parent";
    pipes.forEach(([readEnd], index) => {
      host.watch(readEnd, host.READABLE, () => {
        host.unwatch(readEnd);
        host.write(tell, host.encodeUtf8(`${who} ${forked < 0 ? "first" : "second"}\n`));
        if (forked < 0) {
          forked = host.fork();
          if (forked === 0) who = "child";
          return;
        }
        if (who === "child") host.exit(0);
        const pidfd = host.openPidfd(forked);
        host.watch(pidfd, host.READABLE, () => {
          report({ index: index >= 0, status: host.reapPidfd(pidfd)?.status });
          report(
            readNow(told)
              .split("\n")
              .filter((line) => line !== "")
              .sort(),
          );
          host.exit(0);
        });
      });
    });
    for (const [, writeEnd] of pipes) host.write(writeEnd, byte);
  },
  nothingToWaitFor(): void {
    report("done");
  },
  clocks(): void {
    const before = host.monotonicMs();
    host.setTimer(10, () => {
      const seconds = Number(host.realtimeNs() / 1000000000n);
      report({ later: host.monotonicMs() - before >= 10, since2020: seconds > 1577836800 });
    });
  },
};
