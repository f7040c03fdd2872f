// Cases of relays.
import * as host from "holdfast:host";
import { attempt, command, cpuMs, readNow, report, residentKib } from "./report.ts";

const text = (value: string): Uint8Array => host.encodeUtf8(value);

/** A pipe whose far end a child may use as any program does. */
function blockingPipe(childEnd: "read" | "write"): [number, number] {
  const ends = host.pipe();
  host.setNonBlocking(ends[childEnd === "read" ? 0 : 1], false);
  return ends;
}

function socketPair(directory: string): [number, number] {
  const path = `${directory}/pair-${host.monotonicMs()}`;
  const listener = host.listen(path, 0o600);
  const ends: [number, number] = [host.connect(path), host.accept(listener)];
  host.close(listener);
  host.unlink(path);
  return ends;
}

/** Fills a pipe up; returns how much it took. */
function fill(fd: number): number {
  let size = 0;
  for (let n = host.write(fd, new Uint8Array(4096)); n > 0; n = host.write(fd, new Uint8Array(4096)))
    size += n;
  return size;
}

/** Something to read `source` from. */
function openInput(kind: string, source: string, directory: string): number {
  if (kind === "file") return host.open(source, host.O_RDONLY);
  const [readEnd, writeEnd] = kind === "pipe" ? blockingPipe("write") : socketPair(directory);
  if (kind === "socket") host.setNonBlocking(writeEnd, false);
  host.spawn({ argv: ["cat", source], fds: [-1, writeEnd, 2] });
  host.close(writeEnd);
  return readEnd;
}

/** Somewhere to write to; `hash` then tells the hash of all that came out. */
function openOutput(
  kind: string,
  directory: string,
): { fd: number; hash: (done: (hash: string) => void) => void } {
  const hashOf = (fd: number, done: (hash: string) => void): void => {
    const [readEnd, writeEnd] = host.pipe();
    host.spawn({ argv: ["sha256sum"], fds: [fd, writeEnd, 2] });
    host.close(fd);
    host.close(writeEnd);
    host.watch(readEnd, host.READABLE, () => {
      host.unwatch(readEnd);
      done(readNow(readEnd).slice(0, 64));
    });
  };
  if (kind === "pipe" || kind === "socket") {
    const [readEnd, writeEnd] = kind === "pipe" ? blockingPipe("read") : socketPair(directory);
    host.setNonBlocking(readEnd, false);
    let result = "";
    let told = (hash: string): void => {
      result = hash;
    };
    hashOf(readEnd, (hash) => told(hash));
    return {
      fd: writeEnd,
      hash(done) {
        host.close(writeEnd);
        if (result !== "") done(result);
        else told = done;
      },
    };
  }
  const path = `${directory}/output`;
  const append = kind === "append" ? host.O_APPEND : host.O_TRUNC;
  const fd = host.open(path, host.O_WRONLY | host.O_CREAT | append, 0o600);
  return { fd, hash: (done) => hashOf(host.open(path, host.O_RDONLY), done) };
}

/** What a call that must fail fails with. */
function codeOf(call: () => void): string {
  try {
    call();
  } catch (error) {
    const { code, name } = error as { code?: string; name: string };
    return code ?? name;
  }
  return "";
}

export const relayCases = {
  /** Relays the whole of `source` and reports the hash of what arrived. */
  relayAll(from: string, to: string, source: string, directory: string): void {
    const input = openInput(from, source, directory);
    const output = openOutput(to, directory);
    const relay = host.startRelay(input, output.fd, (why, code) => {
      output.hash((hash) => {
        report({ why, code, hash });
        host.exit(0);
      });
    });
    report(host.relayState(relay).moved === 0n);
  },
  /** Nobody reads: the relay waits without turning, goes on when there is room, and ends when all has arrived. */
  blocked(kind: string, directory: string): void {
    const [from, feed] = host.pipe();
    const [to, sink] = ((): [number, number] => {
      if (kind === "socket") return socketPair(directory);
      const [readEnd, writeEnd] = host.pipe();
      return [writeEnd, readEnd];
    })();
    const filled = fill(to);
    host.write(feed, text("the last of it"));
    let received = 0;
    let last = "";
    const relay = host.startRelay(from, to, (why, code) => {
      host.close(to);
      last += readNow(sink).slice(-14);
      report({ why, code, last: last.slice(-14), all: received === filled });
      host.exit(0);
    });
    host.setTimer(50, () => {
      const { moved, blocked } = host.relayState(relay);
      report({ moved: Number(moved), blocked });
      const before = cpuMs();
      host.setTimer(300, () => {
        report({ idle: cpuMs() - before < 10 });
        host.close(feed); // now the input has hung up as well
        const hungUp = cpuMs();
        host.setTimer(300, () => {
          report({ idle: cpuMs() - hungUp < 10 });
          for (let bytes = host.read(sink, 65536); received < filled && bytes !== null; ) {
            received += bytes.length;
            if (received < filled) bytes = host.read(sink, Math.min(65536, filled - received));
          }
        });
      });
    });
  },
  /** The end of an empty input is told even when the output has no room. */
  endWithFullOutput(): void {
    const [from, feed] = host.pipe();
    const [, to] = host.pipe();
    fill(to);
    host.startRelay(from, to, (why, code) => report([why, code]));
    host.close(feed);
  },
  deadReader(): void {
    const [from, feed] = host.pipe();
    const [sink, to] = host.pipe();
    host.write(feed, text("first"));
    host.startRelay(from, to, (why, code) => {
      report([why, code]);
      const [second, secondTo] = host.pipe();
      host.startRelay(from, secondTo, (later, laterCode) => report([later, laterCode, readNow(second)]));
      host.close(feed);
    });
    host.watch(sink, host.READABLE, () => {
      host.unwatch(sink);
      report(readNow(sink));
      host.close(sink);
      host.write(feed, text("not lost"));
    });
  },
  readerDiesWhileBlocked(): void {
    const [from, feed] = host.pipe();
    const [sink, to] = host.pipe();
    fill(to);
    host.write(feed, text("waiting"));
    host.startRelay(from, to, (why, code) => report([why, code, readNow(from)]));
    host.setTimer(20, () => host.close(sink));
  },
  /** Both ends of a fifo held, as the shim does: a reader that dies is no error, and the next one reads on. */
  heldFifo(directory: string): void {
    const path = `${directory}/fifo`;
    command("mkfifo", path);
    const held = host.open(path, host.O_RDONLY | host.O_NONBLOCK);
    const to = host.open(path, host.O_WRONLY | host.O_NONBLOCK);
    const [from, feed] = host.pipe();
    host.startRelay(from, to, (why, code) => report([why, code]));
    const reader = host.spawn({
      argv: ["sh", "-c", "read line; exit 5"],
      fds: [host.open(path, host.O_RDONLY), -1, 2],
    });
    host.write(feed, text("one line\n"));
    host.watch(reader.pidfd, host.READABLE, () => {
      host.unwatch(reader.pidfd);
      report(host.reapPidfd(reader.pidfd)?.status);
      readNow(held);
      let written = 0;
      const pour = (): void => {
        const n = host.write(feed, new Uint8Array(32768));
        if (n >= 0) written += n;
        if (n >= 0) return void host.setTimer(1, pour);
        const before = cpuMs();
        host.setTimer(300, () => {
          report({ idle: cpuMs() - before < 10 });
          const [out, outWrite] = host.pipe();
          host.close(feed);
          host.spawn({
            argv: ["sh", "-c", `head -c ${written} | wc -c`],
            fds: [host.open(path, host.O_RDONLY), outWrite, 2],
          });
          host.close(outWrite);
          host.watch(out, host.READABLE, () => {
            host.unwatch(out);
            report({ all: Number(readNow(out).trim()) === written });
          });
        });
      };
      pour();
    });
  },
  /** `directory` is a small file system. */
  diskFull(directory: string, mode: string): void {
    const [from, feed] = host.pipe();
    const flag = mode === "append" ? host.O_APPEND : 0;
    const to = host.open(`${directory}/full`, host.O_WRONLY | host.O_CREAT | flag, 0o600);
    const relay = host.startRelay(from, to, (why, code) => {
      report([why, code, (host.statPath(`${directory}/full`)?.size ?? 0) > 0]);
      report(attempt(() => host.relayState(relay)));
      host.exit(0);
    });
    const pour = (): void => {
      host.write(feed, new Uint8Array(16384));
      host.setTimer(0, pour);
    };
    pour();
  },
  stopped(): void {
    const [from, feed] = host.pipe();
    const [sink, to] = host.pipe();
    const relay = host.startRelay(from, to, () => report("unexpected"));
    host.write(feed, text("before"));
    host.watch(sink, host.READABLE, () => {
      host.unwatch(sink);
      host.stopRelay(relay);
      host.stopRelay(relay);
      host.write(feed, text("after"));
      host.close(feed);
      host.setTimer(10, () => report([readNow(sink), readNow(from)]));
    });
  },
  oddEnds(directory: string): void {
    const [sink, to] = host.pipe();
    const done: unknown[] = [];
    const ended =
      (name: string) =>
      (why: string, code: string): void => {
        done.push([name, why, code]);
        if (done.length === 3) report(done.sort());
      };
    host.startRelay(host.open("/dev/null", host.O_RDONLY), to, ended("null"));
    host.startRelay(host.open(directory, host.O_RDONLY | host.O_DIRECTORY), to, ended("directory"));
    const [from, feed] = host.pipe();
    host.startRelay(from, host.open("/dev/null", host.O_WRONLY), ended("to null"));
    host.write(feed, text("gone"));
    host.close(feed);
    report(attempt(() => host.startRelay(994, to, () => {})));
    report(attempt(() => host.startRelay(sink, 994, () => {})));
  },
  /** One socket as the output of one relay and the input of another, and one pipe as the output of two. */
  sharedDescriptors(directory: string): void {
    const [near, far] = socketPair(directory);
    const [fromA, feedA] = host.pipe();
    const [sink, to] = host.pipe();
    const [fromB, feedB] = host.pipe();
    const ends: string[] = [];
    const ended =
      (name: string) =>
      (why: string): void => {
        ends.push(`${name} ${why}`);
        if (ends.length === 3) {
          report(ends.sort());
          report(readNow(sink).split("").sort().join(""));
        }
      };
    host.startRelay(fromA, near, ended("out"));
    host.startRelay(near, to, ended("in"));
    host.startRelay(fromB, to, ended("second"));
    host.write(feedA, text("to the far side"));
    host.write(feedB, text("b"));
    host.send(far, text("a"), 0);
    host.setTimer(20, () => {
      host.close(feedA);
      host.close(feedB);
      report(readNow(far));
      host.close(far);
    });
  },
  /** The child goes on with the relay that its parent started. */
  forked(): void {
    const [from, feed] = host.pipe();
    const [sink, to] = host.pipe();
    host.startRelay(from, to, (why, code) => host.exit(why === "eof" && code === "" ? 21 : 22));
    const child = host.fork();
    if (child === 0) {
      host.close(feed);
      return;
    }
    // Only the child is to move bytes.
    host.stopRelay(1);
    host.write(feed, text("moved by the child"));
    host.close(feed);
    const pidfd = host.openPidfd(child);
    host.watch(pidfd, host.READABLE, () => {
      host.unwatch(pidfd);
      report([host.reapPidfd(pidfd)?.status, readNow(sink)]);
    });
  },
  /** One relay that never comes to an end of its input must leave the other its turn. */
  busyNeighbour(): void {
    host.startRelay(host.open("/dev/zero", host.O_RDONLY), host.open("/dev/null", host.O_WRONLY), noop);
    const [from, feed] = host.pipe();
    const [sink, to] = host.pipe();
    host.startRelay(from, to, (why) => {
      report([why, readNow(sink)]);
      host.exit(0);
    });
    host.write(feed, text("has its turn"));
    host.close(feed);
  },
  /** Blocked once, and then its reader goes while nothing is there to move. */
  readerLeavesIdle(): void {
    const [from, feed] = host.pipe();
    const [sink, to] = host.pipe();
    const filled = fill(to);
    host.write(feed, text("after the rest"));
    const relay = host.startRelay(from, to, (why, code) => report([why, code]));
    host.setTimer(50, () => {
      report(host.relayState(relay).blocked);
      for (let left = filled; left > 0; ) left -= host.read(sink, Math.min(left, 65536))?.length ?? 0;
      host.watch(sink, host.READABLE, () => {
        host.unwatch(sink);
        report(readNow(sink));
        host.close(sink);
        const before = cpuMs();
        host.setTimer(300, () => {
          report({ idle: cpuMs() - before < 10 });
          host.write(feed, text("lost"));
        });
      });
    });
  },
  /**
   * What a full output does not take goes elsewhere, piece by piece and without a byte's loss, when it is asked: first to a file of little room,
   * then back. `kind` is what the relay reads from: a pipe is spliced, of a socket a read piece may be left over.
   */
  redirected(kind: string, directory: string): void {
    const [from, feed] = kind === "pipe" ? host.pipe() : socketPair(directory);
    const [sink, to] = host.pipe();
    const path = `${directory}/aside`;
    const aside = host.open(path, host.O_WRONLY | host.O_CREAT | host.O_APPEND, 0o600);
    const filled = fill(to);
    const asked: string[] = [];
    const relay = host.startRelay(
      from,
      to,
      (why, code, moved) => {
        report({ why, code, moved: Number(moved), asked });
        report(host.decodeUtf8(host.readFile(path, 1000)) + readNow(sink));
      },
      (code) => {
        asked.push(`${code} ${host.relayState(relay).moved}`);
        if (asked.length === 1) host.redirectRelay(relay, aside, 10);
        if (asked.length === 2) host.redirectRelay(relay, aside, 3);
      },
    );
    host.write(feed, text("0123456789abcdefghi"));
    host.setTimer(50, () => {
      const before = cpuMs();
      report({ blocked: host.relayState(relay).blocked, busy: codeOf(() => host.close(aside)) });
      host.setTimer(300, () => {
        report({ idle: cpuMs() - before < 10 });
        let rest = "";
        for (let left = filled; left > 0; ) {
          const bytes = host.read(sink, Math.min(left, 65536));
          left -= bytes?.length ?? 0;
          rest += " ".repeat(bytes?.length ?? 0);
        }
        report(rest.length === filled);
        host.redirectRelay(relay, to);
        host.close(aside);
        host.close(feed);
      });
    });
  },
  /** An output that fails is asked about too, and keeps what it was to get; a relay may be stopped while it asks. */
  failingOutput(): void {
    const [from, feed] = host.pipe();
    const [sink, to] = host.pipe();
    const [secondSink, second] = host.pipe();
    host.close(sink);
    host.write(feed, text("not lost"));
    let again = 0;
    const relay = host.startRelay(from, to, noop, (code) => {
      again++;
      report([code, host.relayState(relay).blocked]);
      if (again > 1) {
        host.stopRelay(relay);
        report(codeOf(() => host.redirectRelay(relay, second)));
      }
    });
    host.setTimer(50, () => {
      report([again, host.relayState(relay).blocked]);
      host.redirectRelay(relay, second);
      host.setTimer(50, () => {
        report(readNow(secondSink));
        host.redirectRelay(relay, to);
        host.write(feed, text("more"));
      });
    });
  },
  idleRelays(count: string): void {
    const [from, feed] = host.pipe();
    const [, to] = host.pipe();
    host.trimMemory();
    const before = residentKib();
    for (let i = 0; i < Number(count); i++) host.startRelay(from, to, noop);
    host.trimMemory();
    report(residentKib() - before);
    host.close(feed);
  },
  /** The rules for close: it ends a watch, and refuses while a relay lives. */
  closing(): void {
    const [from, feed] = host.pipe();
    const [sink, to] = host.pipe();
    const relay = host.startRelay(from, to, () => report("unexpected"));
    report([attempt(() => host.close(from)), attempt(() => host.close(to))]);
    host.stopRelay(relay);
    report([attempt(() => host.close(from)), attempt(() => host.close(to))]);
    host.watch(sink, host.READABLE, () => report("unexpected"));
    host.close(sink);
    host.close(feed);
  },
};

function noop(): void {}
