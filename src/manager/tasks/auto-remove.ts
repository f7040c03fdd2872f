// Containers with the label holdfast.io/auto-remove go when their task has ended, also if the client that made them is gone, and across our restarts; and
// before their start if that client has ended. Fed by daemon.ts with new containers and the ends of tasks.
import { rm } from "node:fs/promises";
import { isAbsolute } from "node:path";
import type { Logger } from "pino";
import { AUTO_REMOVE_LABEL, CLIENT_LABEL, LOG_LABEL } from "../../api/labels.ts";
import { hasEnded } from "../../platform/node-process.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { errorText, pause } from "../deferred.ts";
import type { Histories } from "../records/history.ts";
import type { Store } from "../records/store.ts";
import type { Tasks } from "./tasks.ts";

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 60_000;
/** How often to look whether the client of a container that has not been started is still there, in ms. */
const CLIENT_CHECK_MS = 2_000;
const SIGKILL = 9;

export interface AutoRemoveContext {
  readonly store: Store;
  readonly tasks: Tasks;
  readonly histories: Histories;
  /** Removes the record, and publishes that. */
  readonly removeContainer: (namespace: string, id: string) => Promise<void>;
  readonly log: Logger;
}

export class AutoRemove {
  readonly #context: AutoRemoveContext;
  /** Until tasks of an earlier daemon are listed, one that is not found may be there all the same. */
  #isReady = false;
  #isClosed = false;

  constructor(context: AutoRemoveContext) {
    this.#context = context;
  }

  /** To be called when the end of a task has been published. Never rejects. */
  ended(namespace: string, id: string): void {
    if (this.#isReady && this.#isWanted(namespace, id))
      void this.#remove(namespace, id, () => this.#context.histories.isEndPublished(namespace, id));
  }

  /** Removes those whose tasks ended under an earlier daemon. To be called when that one's tasks have been taken over. */
  resume(): void {
    const { store, histories } = this.#context;
    this.#isReady = true;
    for (const namespace of store.containers.namespaces()) {
      for (const id of store.containers.ids(namespace)) {
        if (histories.isEndPublished(namespace, id)) this.ended(namespace, id);
        else this.created(namespace, id);
      }
    }
  }

  /** To be called when a container has been put on record. Never rejects. */
  created(namespace: string, id: string): void {
    if (this.#isReady && this.#isWanted(namespace, id)) void this.#watchClient(namespace, id);
  }

  close(): void {
    this.#isClosed = true;
  }

  #isWanted(namespace: string, id: string): boolean {
    return this.#context.store.containers.find(namespace, id)?.labels[AUTO_REMOVE_LABEL] === "true";
  }

  /** Until its task is started, or its client has ended: then nobody will. */
  async #watchClient(namespace: string, id: string): Promise<void> {
    const { store, tasks, histories } = this.#context;
    const clientOf = (): string | undefined => store.containers.find(namespace, id)?.labels[CLIENT_LABEL];
    const client = clientOf();
    while (client !== undefined) {
      await pause(CLIENT_CHECK_MS);
      const task = tasks.find(namespace, id);
      const isStarted =
        task === undefined ? histories.isEndPublished(namespace, id) : task.phase !== "created";
      if (this.#isClosed || isStarted || clientOf() !== client) return;
      if (tasks.isReserved(namespace, id) || !hasEnded(client)) continue;
      if (task === undefined) return this.#remove(namespace, id, () => clientOf() === client);
      // Its end removes it, as any task's; it is killed again should it not end.
      await task.shim.kill({ id, execId: "", signal: SIGKILL, all: true }).catch(() => {});
    }
  }

  /** Until it is gone: by us, or by somebody else. */
  async #remove(namespace: string, id: string, isMeant: () => boolean): Promise<void> {
    const log = this.#context.log.child({ namespace, id });
    for (let wait = FIRST_RETRY_MS; !this.#isClosed; wait = Math.min(2 * wait, LAST_RETRY_MS)) {
      try {
        await this.#tryToRemove(namespace, id, isMeant);
        return;
      } catch (error) {
        log.warn({ error: errorText(error), nextTryMs: wait }, "cannot remove a container");
      }
      await pause(wait);
    }
  }

  async #tryToRemove(namespace: string, id: string, isMeant: () => boolean): Promise<void> {
    const { tasks, store, removeContainer } = this.#context;
    const container = store.containers.find(namespace, id);
    // Started once more, or no longer to be removed.
    if (container === undefined || !isMeant() || !this.#isWanted(namespace, id)) return;
    const task = tasks.find(namespace, id);
    if (task !== undefined) await unlessGone(tasks.delete(task));
    // Its shim may have none any more, and we may still have to find that out.
    if (tasks.find(namespace, id) !== undefined || tasks.isReserved(namespace, id))
      throw new Error("its task is still there");
    await unlessGone(removeContainer(namespace, id));
    const file = container.labels[LOG_LABEL];
    if (file !== undefined && isAbsolute(file)) await rm(file, { force: true });
  }
}

async function unlessGone(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (TtrpcError.from(error).code !== Code.NOT_FOUND) throw error;
  }
}
