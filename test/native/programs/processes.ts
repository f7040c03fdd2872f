// Cases of starting, watching and reaping processes.
import * as host from "holdfast:host";
import { attempt, openDescriptors, readNow, report } from "./report.ts";

type Request = Omit<host.SpawnRequest, "fds"> & { readonly fds?: readonly number[] };

/** Runs to its end and calls back with exit and output. The child's stderr is its stdout. */
function runToEnd(request: Request, done: (exit: host.Exit | null, output: string) => void): void {
  const [readEnd, writeEnd] = host.pipe();
  const { pidfd } = host.spawn({ fds: [-1, writeEnd, writeEnd], ...request });
  host.close(writeEnd);
  host.watch(pidfd, host.READABLE, () => {
    const exit = host.reapPidfd(pidfd);
    host.unwatch(pidfd);
    host.close(pidfd);
    const output = readNow(readEnd);
    host.close(readEnd);
    done(exit, output);
  });
}

const shell = (script: string): Request => ({ argv: ["sh", "-c", script] });

/** Runs one after the other; calls `next` at the end. */
function inTurn(steps: readonly ((next: () => void) => void)[]): void {
  const [first, ...others] = steps;
  first?.(() => inTurn(others));
}

export const processCases = {
  spawnErrors(directory: string): void {
    const before = openDescriptors();
    const fds = [-1, -1, -1];
    report(attempt(() => host.spawn({ argv: [`${directory}/missing`], fds })));
    report(attempt(() => host.spawn({ argv: ["no-such-program-here"], fds })));
    report(attempt(() => host.spawn({ argv: [directory], fds })));
    report(attempt(() => host.spawn({ argv: ["true"], cwd: `${directory}/missing`, fds })));
    report(attempt(() => host.spawn({ argv: ["true"], fds: [-1, 996] })));
    report(attempt(() => host.spawn({ argv: ["true"], fds, env: ["PATH=/nowhere:/neither"] })));
    report(attempt(() => host.spawn({ argv: [], fds })));
    report(attempt(() => host.spawn({ argv: ["a\0b"], fds })));
    report(attempt(() => host.spawn({ argv: ["true"], fds: Array(100).fill(-1) })));
    report({ children: host.reapAny(), leaked: openDescriptors() - before });
  },
  exitCodes(): void {
    const codes = [0, 1, 42, 126, 127, 128, 137, 255];
    const seen: unknown[] = [];
    inTurn([
      ...codes.map((code) => (next: () => void) => {
        runToEnd(shell(`exit ${code}`), (exit) => {
          seen.push([exit?.status, exit?.signal]);
          next();
        });
      }),
      () => report(seen),
    ]);
  },
  exitSignals(): void {
    const signals = [1, 2, 3, 6, 9, 10, 13, 15];
    const seen: unknown[] = [];
    inTurn([
      ...signals.map((signal) => (next: () => void) => {
        runToEnd(shell(`ulimit -c 0; kill -${signal} $$`), (exit) => {
          seen.push([exit?.status, exit?.signal]);
          next();
        });
      }),
      () => report(seen),
    ]);
  },
  /** The child's descriptors are exactly those asked for, in their order, whatever their numbers here. */
  descriptors(): void {
    const [readEnd, writeEnd] = host.pipe();
    const [otherRead, otherWrite] = host.pipe();
    host.duplicateTo(writeEnd, 50);
    host.setNonBlocking(otherRead, false);
    host.write(otherWrite, host.encodeUtf8("input\n"));
    host.close(otherWrite);
    const script = "cat; echo out; echo err >&2; echo three >&3; ls /proc/self/fd | tr '\\n' ' '";
    const { pidfd } = host.spawn({ argv: ["sh", "-c", script], fds: [otherRead, 50, writeEnd, writeEnd] });
    host.watch(pidfd, host.READABLE, () => {
      host.unwatch(pidfd);
      report(readNow(readEnd).split("\n"));
    });
  },
  /** 0 and 1 change places. */
  swappedDescriptors(): void {
    const [readEnd, writeEnd] = host.pipe();
    host.duplicateTo(writeEnd, 0);
    host.setNonBlocking(1, false);
    const { pidfd } = host.spawn({ argv: ["sh", "-c", "echo to-zero >&0; echo to-one"], fds: [1, 0] });
    host.watch(pidfd, host.READABLE, () => {
      host.unwatch(pidfd);
      report({ one: readNow(readEnd) });
    });
  },
  fewDescriptors(): void {
    const { pid, pidfd } = host.spawn({ argv: ["sleep", "1000"], fds: [-1] });
    host.watch(pidfd, host.READABLE, () => host.unwatch(pidfd));
    // The program's loader opens files of its own at first.
    const look = (tries: number): void => {
      const open = host.listDirectory(`/proc/${pid}/fd`);
      if (open.length > 1 && tries > 0) return void host.setTimer(5, () => look(tries - 1));
      report(open);
      host.killPidfd(pidfd, 9);
    };
    look(1000);
  },
  surroundings(directory: string): void {
    const script =
      "pwd; echo $NAME; cat /proc/self/oom_score_adj; grep -E 'Sig(Blk|Ign)' /proc/self/status | tr -d '\\n\\t '";
    host.onSignals([10, 15], () => {});
    const env = ["NAME=value", "PATH=/usr/bin:/bin"];
    runToEnd(
      { argv: ["ignored", "-c", script], file: "sh", cwd: directory, env, oomScoreAdj: 321 },
      (exit, output) => {
        report([exit?.status, ...output.split("\n")]);
        host.exit(0);
      },
    );
  },
  newSession(): void {
    runToEnd({ ...shell("cut -d' ' -f1,6 /proc/$$/stat"), newSession: true }, (_, output) => {
      const [pid, session] = output.trim().split(" ");
      report({ leads: pid === session });
      runToEnd(shell("cut -d' ' -f1,6 /proc/$$/stat"), (_exit, plain) => {
        const [own, inherited] = plain.trim().split(" ");
        report({ leads: own === inherited });
      });
    });
  },
  /** The child holds stdout; its end of file tells the test that it died with this process. */
  deathSignal(): void {
    host.spawn({ argv: ["sleep", "1000"], fds: [-1, 1, -1], deathSignal: 9 });
    report("started");
    host.exit(0);
  },
  reaping(): void {
    const [readEnd, writeEnd] = host.pipe();
    host.setNonBlocking(readEnd, false);
    const { pid, pidfd } = host.spawn({ argv: ["cat"], fds: [readEnd, -1, -1] });
    host.close(readEnd);
    report([host.reapPidfd(pidfd), host.reapAny()]);
    const second = host.openPidfd(pid);
    host.watch(pidfd, host.READABLE, () => {
      host.unwatch(pidfd);
      report(["a pidfd of a zombie", attempt(() => host.close(host.openPidfd(pid)))]);
      const exit = host.reapPidfd(pidfd);
      report({ right: exit?.pid === pid, status: exit?.status });
      report(attempt(() => host.reapPidfd(pidfd)));
      report(attempt(() => host.killPidfd(second, 15)));
      report(attempt(() => host.openPidfd(pid)));
      report(attempt(() => host.reapPidfd(0)));
      const { pid: stranger } = host.spawn({ argv: ["true"], fds: [] });
      const strangerFd = host.openPidfd(stranger);
      host.watch(strangerFd, host.READABLE, () => {
        host.unwatch(strangerFd);
        report({ any: host.reapAny()?.pid === stranger, none: host.reapAny() });
      });
    });
    host.close(writeEnd);
  },
  killing(): void {
    const { pidfd } = host.spawn({ argv: ["sleep", "1000"], fds: [-1, -1, -1] });
    host.watch(pidfd, host.READABLE, () => {
      host.unwatch(pidfd);
      const exit = host.reapPidfd(pidfd);
      report([exit?.status, exit?.signal]);
    });
    host.killPidfd(pidfd, 0);
    host.killPidfd(pidfd, 15);
  },
  /** A grandchild is nobody's to reap here, but a pidfd sees it end. */
  stranger(): void {
    const [readEnd, writeEnd] = host.pipe();
    const [holdRead, holdWrite] = host.pipe();
    host.setNonBlocking(holdRead, false);
    const script = "(cat <&3 >/dev/null; exit 9) & echo $!; exec cat <&3 >/dev/null";
    host.spawn({ argv: ["sh", "-c", script], fds: [-1, writeEnd, -1, holdRead] });
    host.watch(readEnd, host.READABLE, () => {
      host.unwatch(readEnd);
      const stranger = host.openPidfd(Number(readNow(readEnd).trim()));
      report(attempt(() => host.reapPidfd(stranger)));
      host.watch(stranger, host.READABLE, () => {
        host.unwatch(stranger);
        report("it ended");
      });
      host.close(holdWrite);
    });
  },
  /** What has no slash is looked for in absolute directories only: the working directory is whoever's. */
  searchPath(directory: string): void {
    for (const path of [
      "",
      ":",
      ":/nowhere",
      "/nowhere:",
      "/nowhere::/neither",
      ".",
      "bin",
      "bin:/nowhere",
    ]) {
      const request = { argv: ["tool"], fds: [], cwd: directory, env: [`PATH=${path}`] };
      report((attempt(() => host.spawn(request)) as { code?: string }).code);
    }
    const last = `PATH=bin::/nowhere:${directory}/refused:${directory}/bin`;
    runToEnd({ argv: ["tool"], fds: [], cwd: "/", env: [last] }, (exit) => {
      report(exit?.status);
      host.exit(0);
    });
  },
  /** The limit of open files of a child, after ours was raised, and ours. */
  fileLimits(): void {
    host.raiseFileLimit();
    runToEnd(
      shell("echo $(ulimit -Sn) $(ulimit -Hn) $(grep 'open files' /proc/$PPID/limits)"),
      (_, output) => {
        report(output);
        host.exit(0);
      },
    );
  },
  /** A burst of processes leaves neither descriptors nor zombies. */
  manyProcesses(count: string): void {
    let running = Number(count);
    host.watch(host.pipe()[0], host.READABLE, () => {}); // the loop's own descriptor is there from now on
    const before = openDescriptors();
    const statuses = new Set<number>();
    for (let i = 0; i < Number(count); i++) {
      runToEnd(shell(`exit ${i % 7}`), (exit) => {
        statuses.add(exit?.status ?? -1);
        if (--running === 0) {
          report({
            statuses: [...statuses].sort(),
            leaked: openDescriptors() - before,
            left: host.reapAny(),
          });
          host.exit(0);
        }
      });
    }
  },
};
