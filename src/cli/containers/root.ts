// The root file system of a container, as copies, diffs and commits get at it: of one that runs its own, of another what its snapshot or directory is.
import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { isAbsolute, join } from "node:path";
import type { Container } from "../../api/generated/containers.ts";
import { layerProgramPath } from "../../images/layer-process.ts";
import { type FileRoot, RootFiles } from "../../images/root-files.ts";
import { Problem } from "../text/problem.ts";
import { statusName } from "../text/task-status.ts";
import type { DaemonClient } from "./daemon-client.ts";
import { getContainer, orNone, specOf } from "./record.ts";

/** Gives `act` the means to read and write files of containers, for as long as it takes. */
export async function withRootFiles<T>(act: (files: RootFiles) => Promise<T>): Promise<T> {
  const scratch = mkdtempSync(join(tmpdir(), "holdfast-mounts-"));
  try {
    return await act(new RootFiles(layerProgramPath(), scratch));
  } finally {
    rmdirSync(scratch);
  }
}

/** The pid of its init; undefined if it does not run. */
export async function runningPid(daemon: DaemonClient, id: string): Promise<number | undefined> {
  const task = (await orNone(daemon.tasks.get({ containerId: id, execId: "" })))?.process;
  if (task === undefined || task.pid === 0 || statusName(task.status) === "stopped") return undefined;
  return task.pid;
}

/** Throws a Problem for a container whose root file system cannot be known. */
export async function rootOf(daemon: DaemonClient, id: string): Promise<FileRoot> {
  const pid = await runningPid(daemon, id);
  if (pid !== undefined) return { directory: `/proc/${pid}/root` };
  const container = await getContainer(daemon, id);
  if (container.snapshotKey !== "") {
    const { snapshotter, snapshotKey: key } = container;
    return { mounts: (await daemon.snapshots.mounts({ snapshotter, key })).mounts };
  }
  const { path } = (specOf(container).root ?? {}) as { path?: unknown };
  if (typeof path === "string" && isAbsolute(path)) return { directory: path };
  throw new Problem(`${id}: nobody knows where its files are while it does not run`);
}

/** The snapshot that a container of an image runs on. Throws a Problem for any other. */
export function snapshotOf({ id, snapshotter, snapshotKey }: Container): {
  readonly snapshotter: string;
  readonly key: string;
} {
  if (snapshotKey === "")
    throw new Problem(`${id}: it has a directory, and no image that it could differ from`);
  return { snapshotter, key: snapshotKey };
}
