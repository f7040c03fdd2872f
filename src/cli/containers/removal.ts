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

/**
 * Waits for our end, which is none of its business if we have said "done" last. A container that was not started goes at once, any other after its end.
 * `tail` polls once a second.
 */
const WATCHER = `last=; pid=
while read -r word; do last=$word; case $word in [0-9]*) pid=$word; esac; done
id=$1; shift
case $last in
  done) ;;
  started) tail --pid="$pid" -s 1 -f /dev/null; exec "$@" delete --wait -- "$id" ;;
  *) exec "$@" delete -f -- "$id" ;;
esac`;

/** Stands by to remove a container that we have put on record. */
export class Removal {
  readonly #watcher: ChildProcess | undefined;

  private constructor(watcher: ChildProcess | undefined) {
    this.#watcher = watcher;
  }

  /** `byDaemon` is what removesByItself() says. */
  static arrange(daemon: DaemonClient, address: string, id: string, byDaemon: boolean): Removal {
    if (byDaemon) return new Removal(undefined);
    const program = process.argv[1] ?? "holdfast";
    const argv = [program, "--address", address, "--namespace", daemon.namespace];
    const watcher = spawn("sh", ["-c", WATCHER, "sh", id, ...argv], {
      detached: true,
      cwd: "/",
      stdio: ["pipe", "ignore", "ignore"],
    });
    watcher.on("error", () => {});
    watcher.stdin?.on("error", () => {});
    watcher.unref();
    return new Removal(watcher);
  }

  /** Its task is there, with this init. */
  created(pid: number): void {
    this.#watcher?.stdin?.write(`${pid}\n`);
  }

  started(): void {
    this.#watcher?.stdin?.write("started\n");
  }

  /** The container has been deleted. */
  done(): void {
    this.#watcher?.stdin?.end("done\n");
  }
}

/** Whether the daemon acts on the label: only holdfastd does, which has a history too. */
export async function removesByItself(daemon: DaemonClient): Promise<boolean> {
  try {
    await daemon.history.get({ containerId: "" });
    return true;
  } catch (error) {
    return callCode(error) !== Code.UNIMPLEMENTED;
  }
}

/** How long somebody else may be at deleting the same container, in ms. */
const OTHERS = 10_000;
const RETRY = 50;

/** What of its record says which snapshots are a container's own. */
export type Owner = Pick<Container, "id" | "snapshotter" | "snapshotKey" | "labels">;

/** Removes an ended task and its record, with the fifos that we made for it. */
export async function deleteEnded(daemon: DaemonClient, id: string): Promise<void> {
  const [task, record] = await Promise.all([
    orNone(daemon.tasks.get({ containerId: id, execId: "" })),
    orNone(daemon.containers.get({ id })),
  ]);
  await deleteOwn(daemon, record?.container ?? { id, snapshotter: "", snapshotKey: "", labels: {} });
  if (task?.process !== undefined) Fifos.remove(task.process);
}

/** The answers to an earlier attempt may have been lost with the daemon. */
async function deleteOwn(daemon: DaemonClient, owner: Owner): Promise<void> {
  const { id } = owner;
  await orNone(daemon.tasks.delete({ containerId: id }));
  // What a container of an image has written goes with it; together they wait for the disk once.
  await Promise.all([
    orNone(daemon.containers.delete({ id })),
    ...snapshotsOf(owner).map((key) =>
      orNone(daemon.snapshots.remove({ snapshotter: owner.snapshotter, key })),
    ),
  ]);
}

function snapshotsOf({ snapshotter, snapshotKey, id, labels }: Owner): string[] {
  const volumes = labels[`containerd.io/gc.ref.snapshot.${snapshotter}/volumes`];
  return [...(volumes === undefined ? [] : [volumes]), ...(snapshotKey === id ? [snapshotKey] : [])];
}

/**
 * The same, while the daemon or a watcher does so too: of two who delete one is refused. Rejects while the daemon is away. `owner` is for who has made the
 * container and removes its fifos.
 */
export async function deleteEndedToo(daemon: DaemonClient, id: string, owner?: Owner): Promise<void> {
  for (const begun = performance.now(); ; await sleep(RETRY)) {
    try {
      await (owner === undefined ? deleteEnded(daemon, id) : deleteOwn(daemon, owner));
      return;
    } catch (error) {
      if (isAway(error) || performance.now() - begun > OTHERS) throw error;
      if ((await orNone(daemon.containers.get({ id }))) === undefined) return;
    }
  }
}
