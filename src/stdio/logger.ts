// A program that takes a process's output: binary:// and binary-v2:// (docs/shim-protocol.md, section 4).
import { errorText } from "../log/log.ts";
import { SIGKILL, SIGTERM, type Timer } from "../platform/platform.ts";
import type { Sink } from "./output.ts";
import type { LoggerRecord } from "./records.ts";
import type { Helper, StdioContext } from "./stdio.ts";
import type { LoggerTarget } from "./target.ts";

/** How long a logger may take until it says that it is ready, in ms. */
const READY_TIMEOUT = 10_000;
/** How long a logger may take nothing, once all was written, before it is asked to end, in ms. */
const PATIENCE = 2_000;
/** How long it has to end then, in ms. */
const KILL_AFTER = 5_000;

export class Logger {
  /** Settles when the logger is ready. Rejects if it ended before, or took too long. */
  readonly ready: Promise<void>;
  /** Settles when the logger has ended. */
  readonly ended: Promise<unknown>;
  /** What its descriptors 3 and 4 read from; what nobody has asked for yet is ours. */
  readonly #writeEnds: { stdout: number; stderr: number };
  readonly #context: StdioContext;
  readonly #target: LoggerTarget;
  readonly #helper: Helper;
  /** Read ends of what was written to the end, open until the logger has ended: they tell whether it still reads. */
  readonly #unread: number[] = [];
  #hasEnded = false;
  #isEnding = false;
  #timer: Timer | undefined;
  #stopWaiting: (error: Error) => void = () => {};

  /** Starts the program, or goes on with one that an earlier shim has started. Throws, with nothing left open, if it cannot be run. */
  constructor(context: StdioContext, target: LoggerTarget, kept?: LoggerRecord) {
    const { fds } = context.platform;
    this.#context = context;
    this.#target = target;
    if (kept !== undefined) {
      this.#writeEnds = { stdout: -1, stderr: -1 };
      this.#helper =
        kept.pidfd < 0
          ? { pid: kept.pid, pidfd: -1, exited: Promise.resolve(), kill() {} }
          : context.adopt(kept.pid, kept.pidfd);
      this.ready = Promise.resolve();
      this.ended = this.#helper.exited.then(() => this.#end());
      return;
    }
    const pipes: [number, number][] = [];
    const theirs = (): number[] => pipes.map(([readEnd, writeEnd], n) => (n < 2 ? readEnd : writeEnd));
    try {
      for (let n = 0; n < 3; n++) pipes.push(fds.pipe());
      this.#helper = context.spawn({
        argv: [target.program, ...target.args],
        cwd: "/",
        env: [`CONTAINER_ID=${context.container}`, `CONTAINER_NAMESPACE=${context.namespace}`],
        fds: [-1, -1, -1, ...theirs()],
        // Without a successor of ours nobody will end it; it also sees the end of its input.
        ...(!context.isKept && { deathSignal: SIGTERM }),
      });
    } catch (error) {
      for (const fd of pipes.flat()) fds.close(fd);
      throw new Error(`failed to start the logging binary of ${target.uri}: ${errorText(error)}`);
    }
    for (const fd of theirs()) fds.close(fd);
    const [[, out = -1] = [], [, err = -1] = [], [readiness = -1] = []] = pipes;
    this.#writeEnds = { stdout: out, stderr: err };
    this.ready = this.#awaitReadiness(readiness, target);
    // Whoever closes it at once does not wait.
    this.ready.catch(() => {});
    this.ended = this.#helper.exited.then(() => this.#end());
  }

  record(): LoggerRecord {
    return { uri: this.#target.uri, pid: this.#helper.pid, pidfd: this.#hasEnded ? -1 : this.#helper.pidfd };
  }

  /** What a stream is written to; the caller's from now on. Each is there once; `kept` is an earlier shim's. */
  sink(stream: "stdout" | "stderr", kept?: number): Sink {
    const fd = kept ?? this.#writeEnds[stream];
    this.#writeEnds[stream] = -1;
    return {
      kind: "pipe",
      fd,
      close: () => {
        if (!this.#hasEnded) this.#watchUnread(fd);
        this.#context.platform.fds.close(fd);
      },
      broken: () => {
        const fields = { id: this.#context.container, uri: this.#target.uri };
        this.#context.log.warning("the logging binary takes no more output: it is discarded", fields);
      },
    };
  }

  /** A stream that nobody writes to is at its end. */
  closeUnused(): void {
    for (const stream of ["stdout", "stderr"] as const) {
      if (this.#writeEnds[stream] >= 0) this.#context.platform.fds.close(this.#writeEnds[stream]);
      this.#writeEnds[stream] = -1;
    }
  }

  /** Asks it to end as soon as it takes nothing any more, and makes it end. `progress` changes as long as it is given something. */
  finish(progress: () => string): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#endWhenStalled(progress, "");
  }

  /** Makes it end, whatever it still has to read. */
  close(): void {
    this.closeUnused();
    this.#stopWaiting(new Error("nobody waits for the logging binary any more"));
    if (this.#hasEnded) return;
    this.#isEnding = true;
    this.#timer?.cancel();
    this.#helper.kill(SIGTERM);
    this.#timer = this.#context.platform.clock.after(KILL_AFTER, () => this.#helper.kill(SIGKILL));
  }

  #endWhenStalled(progress: () => string, last: string): void {
    if (this.#hasEnded) return;
    const { clock, fds } = this.#context.platform;
    const now = `${progress()} ${this.#unread.map((fd) => fds.readable(fd)).join(" ")}`;
    if (now === last) this.close();
    else this.#timer = clock.after(PATIENCE, () => this.#endWhenStalled(progress, now));
  }

  #end(): void {
    this.#hasEnded = true;
    this.#context.changed();
    this.#timer?.cancel();
    for (const fd of this.#unread) this.#context.platform.fds.close(fd);
    this.#unread.length = 0;
  }

  #watchUnread(writeEnd: number): void {
    try {
      this.#unread.push(this.#context.platform.fds.openRead(`/proc/self/fd/${writeEnd}`));
    } catch {
      // It is given less time then: nobody can tell whether it still reads.
    }
  }

  #awaitReadiness(fd: number, target: LoggerTarget): Promise<void> {
    const { clock, fds } = this.#context.platform;
    return new Promise((resolve, reject) => {
      let waits = true;
      const finish = (settle: () => void): void => {
        if (!waits) return;
        waits = false;
        timer.cancel();
        fds.unwatch(fd);
        fds.close(fd);
        settle();
      };
      const fail = (reason: string): void =>
        finish(() => reject(new Error(`the logging binary of ${target.uri} ${reason}`)));
      this.#stopWaiting = (error) => finish(() => reject(error));
      const timer = clock.after(READY_TIMEOUT, () => fail(`was not ready within ${READY_TIMEOUT} ms`));
      fds.watch(fd, () => {
        const bytes = fds.read(fd, 1);
        if (bytes === null) return;
        if (bytes.length > 0 || !target.mustSpeak) finish(resolve);
        else fail("closed its readiness descriptor before it was ready");
      });
    });
  }
}
