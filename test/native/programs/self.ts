// Cases of the process itself: its end with each kind of live handle, exec, memory.
import * as host from "holdfast:host";
import { attempt, readNow, report, residentKib, sendSignal } from "./report.ts";

/** Something alive of each kind. */
const live: Record<string, () => void> = {
  nothing: () => {},
  watch: () => host.watch(host.pipe()[0], host.READABLE, () => {}),
  timer: () => void host.setTimer(1e9, () => {}),
  signals: () => host.onSignals([10], () => {}),
  relay: () => void host.startRelay(host.pipe()[0], host.pipe()[1], () => {}),
  child: () => void host.spawn({ argv: ["true"], fds: [] }),
  promise: () => void new Promise(() => {}).then(() => report("never")),
  await: async () => {
    await new Promise(() => {});
  },
  blockedRelay: () => {
    const [from, feed] = host.pipe();
    const [, to] = host.pipe();
    for (const fd of [feed, to]) while (host.write(fd, new Uint8Array(65536)) > 0);
    host.startRelay(from, to, () => {});
  },
  receiver: () => host.onUncaught(() => {}),
  bytes: () => void keep.push(new Uint8Array(100000), host.encodeUtf8("kept")),
};
const keep: unknown[] = [];

export const selfCases = {
  /** Exits with something alive: from the top level, a callback or a job. */
  exitWith(kind: string, from: string): void {
    live[kind]?.();
    if (from === "top") host.exit(7);
    if (from === "timer") host.setTimer(5, () => host.exit(7));
    if (from === "job") Promise.resolve().then(() => host.exit(7));
  },
  /** The natural end: everything of the engine is freed and checked in the sanitizer build. */
  endWith(kind: string): void {
    live[kind]?.();
    report("ended");
  },
  exitInRelayEnd(): void {
    const [from, feed] = host.pipe();
    host.startRelay(from, host.pipe()[1], () => host.exit(7));
    host.close(feed);
  },
  exitInSignal(): void {
    host.onSignals([10], () => host.exit(7));
    sendSignal(10);
  },
  badExit(): void {
    report(attempt(() => host.exit(256)));
  },
  identity(): void {
    report({
      argv: host.argv.slice(1),
      environment: host.environment().HOLDFAST_TEST,
      pid: host.pid() > 1,
      parent: host.parentPid() > 0,
    });
    report(host.workingDirectory());
  },
  sessions(): void {
    const child = host.fork();
    if (child === 0) {
      host.newSession();
      const line = host.decodeUtf8(host.readFile("/proc/self/stat", 4096)).split(" ");
      host.exit(Number(line[5]) === host.pid() ? 3 : 4);
    }
    const pidfd = host.openPidfd(child);
    host.watch(pidfd, host.READABLE, () => {
      host.unwatch(pidfd);
      report(host.reapPidfd(pidfd)?.status);
    });
  },
  /** An orphan comes to the subreaper. */
  subreaper(): void {
    host.becomeSubreaper();
    const [readEnd, writeEnd] = host.pipe();
    const [holdRead, holdWrite] = host.pipe();
    host.setNonBlocking(holdRead, false);
    const script = "(cat <&3 >/dev/null; exit 23) & echo $!";
    const { pidfd } = host.spawn({ argv: ["sh", "-c", script], fds: [-1, writeEnd, -1, holdRead] });
    host.watch(pidfd, host.READABLE, () => {
      host.unwatch(pidfd);
      host.reapPidfd(pidfd);
      const orphan = Number(readNow(readEnd).trim());
      const orphanFd = host.openPidfd(orphan);
      host.watch(orphanFd, host.READABLE, () => {
        host.unwatch(orphanFd);
        const exit = host.reapAny();
        report({ right: exit?.pid === orphan, status: exit?.status });
      });
      host.close(holdWrite);
    });
  },
  memoryAfterBurst(): void {
    const burst = (): number => {
      const objects: unknown[] = [];
      for (let i = 0; i < 20000; i++) objects.push({ i, text: `number ${i}`, list: [i] });
      return objects.length;
    };
    burst();
    host.trimMemory();
    const before = { resident: residentKib(), ...host.memoryUsage() };
    for (let i = 0; i < 5; i++) burst();
    const peak = residentKib();
    host.trimMemory();
    const after = { resident: residentKib(), ...host.memoryUsage() };
    report({
      grown: after.resident - before.resident,
      peakAbove: peak - before.resident,
      allocatedMore: after.allocated - before.allocated,
      objectsMore: after.objects - before.objects,
    });
  },
  idleMemory(): void {
    host.trimMemory();
    report(residentKib());
  },
};
