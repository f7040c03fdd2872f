// Makes a container's task, with stdio of one kind or the other, starts it and stays in front of it if asked. Used by run, start and attach.
import { statSync } from "node:fs";
import type { DaemonClient } from "../containers/daemon-client.ts";
import { DaemonTask } from "../containers/daemon-task.ts";
import { Problem } from "../text/problem.ts";
import { Fifos, type StdioPaths } from "./fifos.ts";
import { follow, logUri, pathOfUri, prepareLog } from "./log-files.ts";
import { type Outcome, Session } from "./session.ts";
import type { Exit } from "./task-port.ts";

export interface FrontOptions {
  readonly interactive: boolean;
  readonly terminal: boolean;
  /** Bytes of parseDetachKeys. */
  readonly detachKeys: readonly number[];
  readonly signalProxy: boolean;
}

/** Starts the container's task with our input and output. */
export async function runInFront(daemon: DaemonClient, id: string, options: FrontOptions): Promise<Outcome> {
  const { interactive, terminal, detachKeys, signalProxy } = options;
  const task = new DaemonTask(daemon, id);
  const fifos = await Fifos.create({ stdin: interactive, terminal });
  const session = new Session({ task, execId: "", fifos, detachKeys, signalProxy });
  try {
    await startTask(daemon, id, fifos.paths, () => session.begin());
    return await session.outcome(task.wait(""));
  } catch (error) {
    Fifos.remove(fifos.paths);
    throw error;
  } finally {
    session.close();
  }
}

/** Starts the container's task with its output to a file; resolves to its pid. With `input`, `attach` can type to it. */
export async function runDetached(
  daemon: DaemonClient,
  id: string,
  { log, terminal, input }: { log: string; terminal: boolean; input: boolean },
): Promise<number> {
  prepareLog(log);
  const uri = logUri(log);
  const fifos = input ? await Fifos.create({ stdin: true, terminal }) : undefined;
  const paths = { stdin: fifos?.paths.stdin ?? "", stdout: uri, stderr: terminal ? "" : uri, terminal };
  try {
    return await startTask(daemon, id, paths, () => {});
  } catch (error) {
    if (fifos !== undefined) Fifos.remove(fifos.paths);
    throw error;
  } finally {
    fifos?.close();
  }
}

/** A task that cannot be started is removed again. */
async function startTask(
  daemon: DaemonClient,
  id: string,
  paths: StdioPaths,
  created: () => void,
): Promise<number> {
  const { stdin, stdout, stderr, terminal } = paths;
  await daemon.tasks.create({
    containerId: id,
    rootfs: [],
    stdin,
    stdout,
    stderr,
    terminal,
    runtimePath: "",
  });
  try {
    const { pid } = await daemon.tasks.start({ containerId: id, execId: "" });
    created();
    return pid;
  } catch (error) {
    await daemon.tasks.delete({ containerId: id }).catch(() => {});
    throw error;
  }
}

/** Stays in front of a task that runs, whoever started it. */
export async function attachTo(
  daemon: DaemonClient,
  id: string,
  options: Omit<FrontOptions, "terminal" | "interactive"> & { readonly input: boolean },
): Promise<Outcome> {
  const task = new DaemonTask(daemon, id);
  const state = await task.state("");
  if (state.status === "stopped") throw new Problem(`${id} has ended`);
  const log = pathOfUri(state.stdout);
  const paths: StdioPaths = {
    stdin: options.input ? state.stdin : "",
    stdout: log === undefined ? state.stdout : "",
    stderr: log === undefined && !state.terminal ? state.stderr : "",
    terminal: state.terminal,
  };
  const fifos = Fifos.attach(paths);
  const session = new Session({ ...options, task, execId: "", fifos, redraw: true });
  try {
    session.begin();
    const exit: Promise<Exit> = task.wait("");
    if (log !== undefined) {
      const from = statSync(log, { throwIfNoEntry: false })?.size ?? 0;
      const left = session.outcome(exit);
      await follow(log, from, left);
      return await left;
    }
    return await session.outcome(exit);
  } finally {
    session.close();
  }
}
