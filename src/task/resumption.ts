// A container that an earlier shim had: its processes are taken over, and what was under way when that shim died is ended. Called by container.ts.
import type { Child, Ended, Reaper } from "../reaper/reaper.ts";
import type { Runc } from "../runc/runc.ts";
import type { Beginning } from "./beginning.ts";
import type { CriuRun } from "./checkpoint.ts";
import type { ShimContext } from "./context.ts";
import type { Controls } from "./controls.ts";
import type { Execs } from "./execs.ts";
import type { Exits } from "./exits.ts";
import type { Launcher } from "./launch.ts";
import type { Process, ProcessRecord } from "./process.ts";
import type { Queue } from "./queue.ts";
import type { ContainerRecord, ExecRecord } from "./records.ts";

/** The new shim's container, and its parts. */
export interface Resumed {
  readonly init: Process;
  readonly execs: Execs;
  readonly exits: Exits;
  readonly runc: Runc;
  readonly launcher: Launcher;
  readonly controls: Controls;
  readonly queue: Queue;
  readonly beginning: Beginning;
  readonly restoring: CriuRun | undefined;
  /** Called once the init is taken over. */
  watchCgroup(): void;
  /** What is recorded of the process has changed. */
  changed(process: Process): void;
  undoRestore(): Promise<void>;
}

/** Resolves when nothing is left that was under way. */
export async function takeOver(
  context: ShimContext,
  container: Resumed,
  record: ContainerRecord,
  execs: readonly ExecRecord[],
): Promise<void> {
  const { exits, controls } = container;
  const { init } = record;
  takeProcess(context, container, container.init, init, (exit) => exits.ofInit(exit));
  container.watchCgroup();
  const unfinished = container.execs.resume(record.execCount, execs, (exec, process) =>
    takeProcess(context, container, exec, process, (exit) => exits.ofExec(exec, exit)),
  );
  if (init.state === "starting") unfinished.push(finishStart(container));
  if (init.state === "pausing") unfinished.push(controls.finishPause());
  const { death } = container.init;
  if (init.state === "ending" && death !== undefined) void exits.resumeInit(death, record.startIsDue);
  await Promise.allSettled(unfinished);
}

function takeProcess(
  { reaper }: ShimContext,
  { init, launcher, changed }: Resumed,
  process: Process,
  record: ProcessRecord,
  ended: (exit: Ended) => unknown,
): void {
  const child = childOf(reaper, record);
  const { state, stdio } = record;
  const isMade = stdio !== undefined && (process === init || state !== "starting");
  process.resume(record, child, isMade ? launcher.resume(process, stdio, () => changed(process)) : undefined);
  if (record.exit === undefined) void child?.exited.then(ended);
}

/** The runtime was killed while it started the init. */
function finishStart({
  init,
  exits,
  runc,
  queue,
  beginning,
  restoring,
  undoRestore,
}: Resumed): Promise<void> {
  return queue.run(() =>
    exits.trackInit(async () => {
      if (restoring !== undefined && init.pid === 0) await undoRestore();
      else if ((await runc.status()) !== "created" || (await beginning.begins())) return;
      throw new Error("the start came to nothing");
    }),
  );
}

/** The process of an earlier shim; undefined if there was none. */
function childOf(reaper: Reaper, { pid, pidfd, exit, lost }: ProcessRecord): Child | undefined {
  if (pid === 0) return undefined;
  const ended = exit ?? lost;
  if (ended === undefined) return reaper.adopt(pid, pidfd);
  const { status, at, isUnknown } = ended;
  return reaper.gone({
    pid,
    status,
    signal: 0,
    ...(at !== undefined && { at: BigInt(at) }),
    ...(isUnknown && { isUnknown }),
  });
}
