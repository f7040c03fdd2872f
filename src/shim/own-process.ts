// What a process becomes that is to serve as the shim: its session, its standard descriptors, its log, its limits.
import { createLog, errorText, type Log } from "../log/log.ts";
import { lossyLines } from "../log/lossy-lines.ts";
import type { Platform } from "../platform/platform.ts";
import { recordCrash } from "./crash.ts";

export interface OwnProcessConfig {
  readonly bundle: string;
  /** The daemon's OOM score. */
  readonly oomScoreAdj: number;
  readonly debug: boolean;
  /** Its keeper's pid; 0 without one. */
  readonly keeper: number;
}

/** Prepares this process and returns its log. `isSuccessor`: it goes on where another shim was, in that one's process or as a child of its keeper. */
export function prepareProcess(platform: Platform, config: OwnProcessConfig, isSuccessor: boolean): Log {
  const { self } = platform;
  const isKept = config.keeper > 0;
  // A program that goes on in the same process has one.
  if (isKept || !isSuccessor) self.newSession();
  if (!isSuccessor) detachStdio(platform);
  const log = createLog(platform, config.debug, openLogFifo(platform, config.bundle));
  self.onUncaught((error) => {
    log.error("internal error", { error: errorText(error) });
    recordCrash(platform, config.bundle, error);
  });
  self.becomeSubreaper();
  // The next one inherits the keeper's.
  if (!isSuccessor)
    raiseOomScore(platform, log, config.oomScoreAdj, ["self", ...(isKept ? [String(config.keeper)] : [])]);
  self.raiseFileLimit();
  return log;
}

/** The daemon waits for the end of the pipes that `start` was given, so nothing of them may be kept. */
function detachStdio({ fds }: Platform): void {
  const input = fds.openRead("/dev/null");
  const output = fds.openWrite("/dev/null");
  for (const fd of [0, 1, 2]) fds.duplicateTo(fd === 0 ? input : output, fd);
  fds.close(input);
  fds.close(output);
}

/**
 * The daemon reads the shim's log from a fifo in the bundle. Both ends are held, so that a daemon that is away is no error; when
 * nobody reads for long, lines are dropped rather than waited for. Without a fifo there is no log.
 */
function openLogFifo({ fds, files, text }: Platform, bundle: string): (line: string) => void {
  const path = `${bundle}/log`;
  if (files.stat(path)?.kind !== "fifo") return () => {};
  fds.openRead(path);
  const fd = fds.openWrite(path);
  fds.duplicateTo(fd, 2);
  return lossyLines((bytes) => fds.write(fd, bytes), text.encode);
}

/** The shim goes before its daemon when memory runs out (docs/shim-protocol.md). */
function raiseOomScore(platform: Platform, log: Log, daemons: number, processes: readonly string[]): void {
  try {
    for (const process of processes) {
      platform.files.write(`/proc/${process}/oom_score_adj`, String(Math.min(daemons + 1, 1000)));
    }
  } catch (error) {
    log.warning("failed to adjust the OOM score", { error: errorText(error) });
  }
}
