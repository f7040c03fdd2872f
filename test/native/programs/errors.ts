// Cases of what becomes of errors that nobody catches. test/native/errors.test.ts names lines of this file: see the marks.
import * as host from "holdfast:host";
import { report } from "./report.ts";

function receive(error: unknown): void {
  report(error instanceof Error ? { message: error.message, stack: error.stack } : error);
}

function fail(message: string): never {
  throw new Error(message); // mark: fail
}

export const errorCases = {
  uncaughtInTimer(): void {
    host.onUncaught(receive);
    host.setTimer(0, () => {
      fail("from a timer"); // mark: timer
    });
    host.setTimer(1, () => report("still running"));
  },
  uncaughtInJob(): void {
    host.onUncaught(receive);
    Promise.resolve().then(() => fail("from a job"));
  },
  uncaughtAtTopLevel(): void {
    host.onUncaught(receive);
    host.setTimer(0, () => report("still running"));
    fail("from the top level");
  },
  systemErrorStack(): void {
    host.onUncaught(receive);
    host.setTimer(0, () => {
      host.open("/nonexistent", host.O_RDONLY); // mark: open
    });
  },
  async unhandledRejection(): Promise<void> {
    host.onUncaught(receive);
    await null;
    fail("after an await");
  },
  /** Handled within the jobs of the same callback: nobody hears of it. */
  rejectionHandledLater(): void {
    host.onUncaught(() => report("unexpected"));
    const rejected = Promise.reject(new Error("handled"));
    Promise.resolve()
      .then(() => {})
      .then(() => rejected.catch(() => report("caught")));
  },
  severalRejections(): void {
    host.onUncaught((error) => report(String(error)));
    void Promise.reject(new Error("one"));
    void Promise.reject(new Error("two"));
    void Promise.reject("three");
  },
  /** Jobs of the receiver run too, and may handle what is still to be reported. */
  rejectionHandledByReceiver(): void {
    const second = { reject: (_: Error): void => {} };
    host.onUncaught((error) => {
      report(String(error));
      pending.catch(() => report("caught"));
    });
    void Promise.reject(new Error("one"));
    const pending = new Promise((_, reject) => {
      second.reject = reject;
    });
    second.reject(new Error("two"));
  },
  noReceiver(): void {
    host.setTimer(0, () => fail("nobody listens"));
  },
  receiverThrows(): void {
    host.onUncaught(() => fail("from the receiver"));
    host.setTimer(0, () => fail("the first error"));
  },
  notAnError(): void {
    host.onUncaught(receive);
    host.setTimer(0, () => {
      throw { plain: "object" };
    });
    host.setTimer(0, () => {
      throw 5;
    });
  },
  deepRecursion(): void {
    const descend = (depth: number): number => descend(depth + 1) + 1;
    try {
      descend(0);
    } catch (error) {
      report(error instanceof Error && error.message);
    }
    report("survived");
  },
  wrongArguments(): void {
    const calls: Record<string, () => void> = {
      watch: () => host.watch(0, host.READABLE, undefined as unknown as () => void),
      nul: () => host.open("/a\0b", host.O_RDONLY),
      flags: () => host.open("/", Number.NaN),
      max: () => host.read(0, 0),
      bytes: () => host.write(1, "text" as unknown as Uint8Array),
      wide: () => host.write(1, new Uint32Array(1) as unknown as Uint8Array),
      fd: () => host.close(1e12),
      signals: () => host.onSignals([99], () => {}),
      mode: () => host.makeDirectory("/tmp/never", 0o10000),
    };
    for (const [name, call] of Object.entries(calls)) {
      try {
        call();
        report({ name, threw: null });
      } catch (error) {
        report({ name, threw: (error as Error).name });
      }
    }
  },
};
