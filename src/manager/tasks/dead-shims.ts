// What is done when a shim has died, or a task did not come to be: cleaning up with the shim's binary, and publishing the end in its place. tasks.ts and
// reattach.ts use it.
import type { Logger } from "pino";
import { Cause } from "../../api/generated/history.ts";
import type { DeleteResponse } from "../../api/generated/task.ts";
import { nsFromTimestamp, timestampFromNs } from "../../api/timestamp.ts";
import { topics } from "../../events/topics.ts";
import { failpoint } from "../../platform/failpoint.ts";
import { nodeClock } from "../../platform/node.ts";
import { findRuntimeHolder } from "../../shims/runtime-root.ts";
import { errorText, pause } from "../deferred.ts";
import type { Histories, TaskEnd } from "../records/history.ts";
import type { Exchange } from "../server/exchange.ts";
import type { Bundle } from "./bundle.ts";
import type { ShimBinary } from "./shim-binary.ts";
import type { ShimLink } from "./shim-link.ts";

/** How long a shim may take to answer to Shutdown, in ms (containerd's 3 s). */
export const SHUTDOWN_TIMEOUT_MS = 3000;
/** Between attempts to clean up, in ms: the first few while somebody waits, the last for ever. */
const RETRIES_MS = [250, 1000];
const LAST_RETRY_MS = 30_000;
/** What containerd says of a container whose end nobody knows. */
export const UNKNOWN_STATUS = 255;

export interface DeadShimsContext {
  readonly cleanupTimeoutMs: number;
  readonly exchange: Exchange;
  readonly histories: Histories;
  readonly log: Logger;
}

export interface Recovery {
  readonly end: TaskEnd;
  readonly outcome: Outcome;
}

interface Attempt {
  readonly answer: DeleteResponse | undefined;
  readonly failure: string | undefined;
}

/** "clean" if nothing is left; else the bundle is, and `clean` resolves once a later attempt has removed it. */
export type Outcome = "clean" | { readonly clean: Promise<void>; readonly reason: string };

export class DeadShims {
  readonly #context: DeadShimsContext;
  #isClosed = false;

  constructor(context: DeadShimsContext) {
    this.#context = context;
  }

  /** No more attempts: the next daemon makes them. */
  close(): void {
    this.#isClosed = true;
  }

  /** Undoes a task that did not come to be, as far as it went. Never rejects. */
  async discard(
    bundle: Bundle,
    binary: ShimBinary | undefined,
    link: ShimLink | undefined,
  ): Promise<Outcome> {
    try {
      // A shim that is cut off in the middle of a Create undoes it.
      await link?.task.shutdown({ id: bundle.id, now: false }, { timeoutMs: SHUTDOWN_TIMEOUT_MS });
    } catch (error) {
      this.#logOf(bundle).debug({ error: errorText(error) }, "shim does not answer to Shutdown");
    }
    link?.close();
    const { failure } = await this.#deletePatiently(bundle, binary);
    return this.#finish(bundle, binary, failure);
  }

  /**
   * Cleans up after a shim that has died. Resolves to how its container ended, which is on record and not yet published. Never rejects. `why` says what
   * has kept another shim from taking it over.
   */
  async recover(bundle: Bundle, binary: ShimBinary | undefined, why = ""): Promise<Recovery> {
    const began = nodeClock.realtimeNs();
    const { answer, failure } = await this.#deletePatiently(bundle, binary);
    failpoint("cleanup:deleted");
    // The bundle is what a next daemon would ask, so it goes after the record has been written.
    const end = this.#noteEnd(bundle, answer, began, why);
    failpoint("cleanup:noted");
    const outcome = await this.#finish(bundle, binary, failure);
    failpoint("cleanup:removed");
    return { end, outcome };
  }

  /** What the shim had published before it died counts more than what its binary makes of the remains. */
  #noteEnd(
    { namespace, id }: Bundle,
    answer: DeleteResponse | undefined,
    began: bigint,
    why: string,
  ): TaskEnd {
    const { histories } = this.#context;
    const known = histories.ended(namespace, id);
    if (known !== undefined) return { pid: known.pid, exitStatus: known.status, exitedAt: known.exitedAt };
    const now = nodeClock.realtimeNs();
    const { pid = 0, exitStatus = UNKNOWN_STATUS, exitedAt = timestampFromNs(now) } = answer ?? {};
    const end = { pid, exitStatus, exitedAt };
    if (!histories.wasCreated(namespace, id)) return end;
    // A shim that has seen the exit has written down when that was.
    const wasAlive = nsFromTimestamp(exitedAt) >= began;
    histories.noteStep(namespace, id, {
      at: timestampFromNs(began),
      what: "shim died",
      execId: "",
      tookNs: now - began,
      detail:
        (why === "" ? "" : `no other shim could take it over (${why}): `) +
        (wasAlive ? "its container was killed in cleaning up" : "its container had ended before"),
    });
    histories.noteEnd(
      namespace,
      id,
      end,
      wasAlive ? [Cause.CAUSE_SHIM_DIED, "its shim died, and it was killed in cleaning up"] : undefined,
    );
    return end;
  }

  /** Publishes the end of a task in place of its shim. What has been published is not published again. */
  publishEnd(namespace: string, id: string, { pid, exitStatus, exitedAt }: TaskEnd): void {
    const { exchange } = this.#context;
    exchange.publish(namespace, topics.exit, { containerId: id, id, pid, exitStatus, exitedAt });
    exchange.publish(namespace, topics.delete, { containerId: id, pid, exitStatus, exitedAt, id: "" });
  }

  async removeBundle(bundle: Bundle): Promise<void> {
    try {
      await bundle.remove();
    } catch (error) {
      this.#context.log.error({ bundle: bundle.path, error: errorText(error) }, "cannot remove a bundle");
    }
  }

  async #deletePatiently(bundle: Bundle, binary: ShimBinary | undefined): Promise<Attempt> {
    for (const wait of RETRIES_MS) {
      const attempt = await this.#delete(bundle, binary);
      if (attempt.failure === undefined || this.#isClosed) return attempt;
      await pause(wait);
    }
    return this.#delete(bundle, binary);
  }

  /** Failed is what leaves a container in the runtime: as long as the bundle is there, somebody knows of it. */
  async #delete(bundle: Bundle, binary: ShimBinary | undefined): Promise<Attempt> {
    const log = this.#logOf(bundle);
    const root = await bundle.readRuntimeRoot();
    const holder = (): string => findRuntimeHolder(root, bundle.namespace, bundle.id)?.bundle ?? "";
    if (holder() !== "" && holder() !== bundle.path) {
      // By force, the binary would end somebody else's container.
      log.warn({ holder: holder() }, "the runtime's container of this id is not ours; it is left alone");
      return { answer: undefined, failure: undefined };
    }
    const isLeft = (): boolean => binary !== undefined && holder() === bundle.path;
    try {
      const answer = await binary?.delete(this.#context.cleanupTimeoutMs);
      if (isLeft()) throw new Error(`the runtime still has the container in ${root}`);
      return { answer, failure: undefined };
    } catch (error) {
      log.error({ error: errorText(error) }, "cannot clean up after a shim");
      return { answer: undefined, failure: isLeft() ? errorText(error) : undefined };
    }
  }

  /** Removes the bundle if the rest is clean: as long as it is there, somebody knows of the rest. */
  async #finish(
    bundle: Bundle,
    binary: ShimBinary | undefined,
    failure: string | undefined,
  ): Promise<Outcome> {
    if (failure === undefined) {
      await this.removeBundle(bundle);
      return "clean";
    }
    return { reason: failure, clean: this.#keepTrying(bundle, binary) };
  }

  /** Resolves when it has been cleaned up; never after close(). */
  async #keepTrying(bundle: Bundle, binary: ShimBinary | undefined): Promise<void> {
    for (;;) {
      await pause(LAST_RETRY_MS);
      if (this.#isClosed) return new Promise(() => {});
      const { failure } = await this.#delete(bundle, binary);
      if (failure !== undefined) continue;
      await this.removeBundle(bundle);
      this.#logOf(bundle).info("cleaned up after a shim at last");
      return;
    }
  }

  #logOf({ namespace, id }: Bundle): Logger {
    return this.#context.log.child({ namespace, id });
  }
}
