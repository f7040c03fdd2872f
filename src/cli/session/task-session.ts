// Makes a container's task, with stdio of one kind or the other, starts it and stays in front of it if asked.
import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { Mount } from "../../api/generated/mount.ts";
import type { DaemonClient } from "../containers/daemon-client.ts";
import { DaemonTask } from "../containers/daemon-task.ts";
import { waitForEnd } from "../containers/end.ts";
import { getContainer } from "../containers/record.ts";
import { Problem } from "../text/problem.ts";
import { Fifos, type StdioPaths } from "./fifos.ts";
import { follow, logUri, pathOfUri } from "./log-files.ts";
import { otherReader } from "./readers.ts";
import { type Outcome, Session } from "./session.ts";
import type { Exit } from "./task-port.ts";

/** What is told on the way. */
interface Steps {
  /** Called with the pid of its init, before that starts. */
  readonly created: (pid: number) => void;
  readonly started: () => void;
}

/** What its task is made of. */
interface TaskParts extends Steps {
  /** Its root file system as it was just made; undefined for that of its record. */
  readonly rootfs?: readonly Mount[];
}

export interface FrontOptions extends TaskParts {
  readonly interactive: boolean;
  readonly terminal: boolean;
  /** Bytes of parseDetachKeys. */
  readonly detachKeys: readonly number[];
  readonly signalProxy: boolean;
  /** It is deleted after its end, maybe by the daemon. */
  readonly temporary: boolean;
  /** Its stdio, if that is being made already. */
  readonly fifos?: Promise<Fifos>;
}

/** Starts the container's task with our input and output. */
export async function runInFront(daemon: DaemonClient, id: string, options: FrontOptions): Promise<Outcome> {
  const { interactive, terminal, detachKeys, signalProxy } = options;
  const task = new DaemonTask(daemon, id);
  const fifos = await (options.fifos ?? Fifos.create({ stdin: interactive, terminal }));
  const session = new Session({ task, execId: "", fifos, detachKeys, signalProxy, endsWithReader: true });
  let exit: Promise<Exit> | undefined;
  try {
    const created = (pid: number): void => {
      options.created(pid);
      // Asked before it starts: a daemon that deletes it after its end would have nothing to tell any more.
      exit = waitForEnd(daemon, id);
      exit.catch(() => {});
    };
    await startTask(daemon, id, fifos.paths, { ...options, created });
    await session.begin();
    const outcome = await session.outcome(exit ?? waitForEnd(daemon, id));
    // Once the daemon has deleted the task, nobody finds them by it.
    if (options.temporary && outcome !== "detached") Fifos.remove(fifos.paths);
    return outcome;
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
  options: { log: string; terminal: boolean; input: boolean } & TaskParts,
): Promise<number> {
  const { log, terminal, input } = options;
  mkdirSync(dirname(log), { recursive: true, mode: 0o700 });
  const uri = logUri(log);
  const fifos = input ? await Fifos.create({ stdin: true, terminal }) : undefined;
  const paths = { stdin: fifos?.paths.stdin ?? "", stdout: uri, stderr: terminal ? "" : uri, terminal };
  try {
    return await startTask(daemon, id, paths, options);
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
  { rootfs, ...steps }: TaskParts,
): Promise<number> {
  const { stdin, stdout, stderr, terminal } = paths;
  const { pid } = await daemon.tasks.create({
    containerId: id,
    rootfs: [...(rootfs ?? (await rootMounts(daemon, id)))],
    stdin,
    stdout,
    stderr,
    terminal,
    runtimePath: "",
  });
  try {
    steps.created(pid);
    await daemon.tasks.start({ containerId: id, execId: "" });
    steps.started();
    return pid;
  } catch (error) {
    await daemon.tasks.delete({ containerId: id }).catch(() => {});
    throw error;
  }
}

/** Of a container that runs on a snapshot; of others, none. */
async function rootMounts(daemon: DaemonClient, id: string): Promise<Mount[]> {
  const { snapshotter, snapshotKey } = await getContainer(daemon, id);
  if (snapshotKey === "") return [];
  return (await daemon.snapshots.mounts({ snapshotter, key: snapshotKey })).mounts;
}

/** Stays in front of a task that runs, whoever started it. */
export async function attachTo(
  daemon: DaemonClient,
  id: string,
  options: Pick<FrontOptions, "detachKeys" | "signalProxy"> & { readonly input: boolean },
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
  // Looked for once we have them open ourselves, so that of two who come at once one sees the other.
  const other = otherReader([paths.stdout, paths.stderr]);
  if (other !== undefined) {
    fifos.close();
    throw new Problem(
      `cannot attach: ${other.name} (pid ${other.pid}) has its output, and each of two would get a part of it only`,
    );
  }
  const session = new Session({ ...options, task, execId: "", fifos, redraw: true, endsWithReader: false });
  try {
    await session.begin();
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
