// Runs one exec from fifos to exit status, on any TaskPort.

import { type ExecOptions, execProcess } from "../containers/exec-process.ts";
import type { Root } from "../containers/root-file.ts";
import { parseDetachKeys } from "./detach-keys.ts";
import { Fifos } from "./fifos.ts";
import { demandTerminal, type Outcome, Session } from "./session.ts";
import type { TaskPort } from "./task-port.ts";

export interface ExecFlags extends ExecOptions {
  readonly interactive: boolean;
  /** Start it and leave it alone. */
  readonly detach: boolean;
  readonly detachKeys: string;
  readonly execId: string;
}

export async function runExec(
  task: TaskPort,
  spec: Record<string, unknown>,
  flags: ExecFlags,
): Promise<Outcome> {
  if (!flags.detach) await demandTerminal(flags.terminal, flags.interactive);
  const { execId } = flags;
  const detachKeys = parseDetachKeys(flags.detachKeys);
  const process = execProcess(spec, flags, await rootOf(task, flags.user));
  if (flags.detach) {
    const paths = { stdin: "", stdout: "", stderr: "", terminal: flags.terminal };
    await task.exec(execId, process, paths);
    await task.start(execId);
    return "detached";
  }
  const fifos = await Fifos.create({ stdin: flags.interactive, terminal: flags.terminal });
  const session = new Session({
    ...{ task, execId, fifos, detachKeys },
    signalProxy: !flags.terminal,
    endsWithReader: true,
  });
  let outcome: Outcome | undefined;
  try {
    await task.exec(execId, process, fifos.paths);
    let deleted: Promise<unknown> | undefined;
    const remove = (): Promise<unknown> => {
      deleted ??= task.delete(execId).catch(() => {});
      return deleted;
    };
    try {
      const exit = task.wait(execId);
      // Its deletion ends its output, which a child that it has left behind would keep open.
      exit.then(remove, () => {});
      await task.start(execId);
      await session.begin();
      outcome = await session.outcome(exit);
    } finally {
      if (outcome !== "detached") await remove();
    }
    return outcome;
  } finally {
    session.close();
    if (outcome !== "detached") Fifos.remove(fifos.paths);
  }
}

/** The root file system that an exec's user is looked up in: the init's, as it is now. */
async function rootOf(task: TaskPort, user: string | undefined): Promise<Root | undefined> {
  if (user === undefined) return undefined;
  const { pid } = await task.state("");
  return pid === 0 ? undefined : { directory: `/proc/${pid}/root`, pid };
}
