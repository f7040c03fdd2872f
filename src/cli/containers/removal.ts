// How a container of `run --rm` goes after its end, also if we are killed before: holdfastd does it by a label. Another daemon deletes nothing by itself;
// there a small program waits that costs less than we do.
import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import type { Container } from "../../api/generated/containers.ts";
import { Code } from "../../ttrpc/status.ts";
import { Fifos } from "../session/fifos.ts";
import { callCode } from "../text/problem.ts";
import type { DaemonClient } from "./daemon-client.ts";
import { isAway } from "./daemon-task.ts";
import { orNone } from "./record.ts";

/** Waits for our end, which is none of its business if we have said "done"; then for the container's; then deletes. `tail` polls once a second. */
const WATCHER =
  'read -r word; [ "$word" = done ] && exit; tail --pid="$1" -s 1 -f /dev/null; shift; exec "$@"';

/** Stands by to remove a container whose init is `pid`. */
export class Removal {
  readonly #watcher: ChildProcess | undefined;

  private constructor(watcher: ChildProcess | undefined) {
    this.#watcher = watcher;
  }

  static async arrange(daemon: DaemonClient, address: string, id: string, pid: number): Promise<Removal> {
    if (await removesByItself(daemon, id)) return new Removal(undefined);
    const program = process.argv[1] ?? "holdfast";
    const place = ["--address", address, "--namespace", daemon.namespace];
    const argv = [program, ...place, "delete", "--wait", "--", id];
    const watcher = spawn("sh", ["-c", WATCHER, "sh", String(pid), ...argv], {
      detached: true,
      cwd: "/",
      stdio: ["pipe", "ignore", "ignore"],
    });
    watcher.on("error", () => {});
    watcher.stdin?.on("error", () => {});
    watcher.unref();
    return new Removal(watcher);
  }

  /** The container has been deleted. */
  done(): void {
    this.#watcher?.stdin?.end("done\n");
  }
}

/** Only holdfastd has a history, and acts on the label. */
async function removesByItself(daemon: DaemonClient, id: string): Promise<boolean> {
  try {
    await daemon.history.get({ containerId: id });
    return true;
  } catch (error) {
    return callCode(error) !== Code.UNIMPLEMENTED;
  }
}

/** How long somebody else may be at deleting the same container, in ms. */
const OTHERS = 10_000;
const RETRY = 50;

/** Removes an ended task and its record, with the fifos that we made for it. */
export async function deleteEnded(daemon: DaemonClient, id: string): Promise<void> {
  const task = await orNone(daemon.tasks.get({ containerId: id, execId: "" }));
  if (task?.process !== undefined) {
    await orNone(daemon.tasks.delete({ containerId: id }));
    Fifos.remove(task.process);
  }
  const container = (await orNone(daemon.containers.get({ id })))?.container;
  // The first answer may have been lost with the daemon.
  await orNone(daemon.containers.delete({ id }));
  if (container !== undefined) await removeSnapshot(daemon, container);
}

/** What a container of an image has written goes with it. */
async function removeSnapshot(
  daemon: DaemonClient,
  { snapshotter, snapshotKey, id }: Container,
): Promise<void> {
  if (snapshotKey !== id) return;
  await orNone(daemon.snapshots.remove({ snapshotter, key: snapshotKey }));
}

/** The same, while the daemon or a watcher does so too: of two who delete one is refused. Rejects while the daemon is away. */
export async function deleteEndedToo(daemon: DaemonClient, id: string): Promise<void> {
  for (const begun = performance.now(); ; await sleep(RETRY)) {
    try {
      await deleteEnded(daemon, id);
      return;
    } catch (error) {
      if (isAway(error) || performance.now() - begun > OTHERS) throw error;
      if ((await orNone(daemon.containers.get({ id }))) === undefined) return;
    }
  }
}
