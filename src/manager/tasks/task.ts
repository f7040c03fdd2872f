// One task: the container's shim, its connection, and what several callers share of it. Made by tasks.ts and reattach.ts.

import type { Timestamp } from "../../api/generated/google/protobuf/timestamp.ts";
import type { Usage } from "../../api/generated/history.ts";
import type { DeleteResponse, StateResponse } from "../../api/generated/task.ts";
import type { ShimAddress } from "../../shims/address.ts";
import { readUsage, type TaskUsage } from "../../shims/usage.ts";
import type { CancelSignal } from "../../ttrpc/cancel.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { Deferred } from "../deferred.ts";
import type { Bundle } from "./bundle.ts";
import { SharedAnswer } from "./shared-answer.ts";
import type { ShimBinary } from "./shim-binary.ts";
import type { ShimLink } from "./shim-link.ts";

/** How long a shim may take to tell what an ended container has used, in ms. */
const STATS_TIMEOUT_MS = 1000;

/** How long a call waits for the successor of a shim that has died, in ms. */
export const SUCCESSION_MS = 10_000;

export type TaskPhase = "created" | "running" | "paused" | "stopped";

export interface TaskExit {
  readonly exitStatus: number;
  readonly exitedAt?: Timestamp | undefined;
}

/** What has become of a connection that ended: there is a new one, the shim has died and this was the end, or nobody minds it any more. */
type Outcome = "linked" | "gone" | TaskExit;

export interface TaskParts {
  readonly bundle: Bundle;
  readonly binary: ShimBinary | undefined;
  readonly address: ShimAddress;
  readonly link: ShimLink;
  /** Ends the copying of its shim's log. */
  readonly closeLog: () => void;
}

export class Task {
  readonly bundle: Bundle;
  /** undefined for one that was found again, and whose binary nobody knows. */
  readonly binary: ShimBinary | undefined;
  readonly address: ShimAddress;
  /** Of the init; 0 while it is not known. */
  pid = 0;
  /** By its events; a metric. */
  phase: TaskPhase = "created";
  readonly #closeLog: () => void;
  readonly #waits = new Map<string, SharedAnswer<TaskExit>>();
  #deletion: Promise<DeleteResponse> | undefined;
  #link: ShimLink;
  #relinked = new Deferred<Outcome>();
  #isClosed = false;
  #usage: Promise<Usage | undefined> | undefined;

  constructor({ bundle, binary, address, link, closeLog }: TaskParts) {
    this.bundle = bundle;
    this.binary = binary;
    this.address = address;
    this.#link = link;
    this.#closeLog = closeLog;
  }

  get namespace(): string {
    return this.bundle.namespace;
  }

  get id(): string {
    return this.bundle.id;
  }

  /** For an error: who has the id. */
  describe(): string {
    return `pid ${this.pid || "?"}, ${this.phase}, bundle ${this.bundle.path}`;
  }

  get link(): ShimLink {
    return this.#link;
  }

  /** The shim's task service. */
  get shim(): ShimLink["task"] {
    return this.#link.task;
  }

  /** Whether its shim is no longer ours to mind. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** What the shim says of a process; "" is the init. `patienceMs` is how long a successor is waited for. */
  state(execId: string, timeoutMs: number, patienceMs: number = timeoutMs): Promise<StateResponse> {
    return this.ask((shim) => shim.state({ id: this.id, execId }, { timeoutMs }), patienceMs);
  }

  /** Asks the shim something that may be asked twice: if it dies over it, the next one is asked. */
  async ask<T>(
    question: (shim: ShimLink["task"]) => Promise<T>,
    timeoutMs: number = SUCCESSION_MS,
  ): Promise<T> {
    for (;;) {
      const link = this.#link;
      try {
        return await question(link.task);
      } catch (error) {
        const isOver = this.#link === link && (!link.isClosed || !(await this.#isRelinked(timeoutMs)));
        if (isOver) throw error;
      }
    }
  }

  /** To be called before anything else is asked: one that has just died may have a successor soon. */
  async reachable(): Promise<void> {
    if (this.#link.isClosed) await this.#isRelinked(SUCCESSION_MS);
  }

  async #isRelinked(timeoutMs: number): Promise<boolean> {
    if (this.#isClosed) return false;
    const tooLate = new Deferred<Outcome>();
    const timer = setTimeout(() => tooLate.resolve("gone"), timeoutMs);
    const outcome = await Promise.race([this.#relinked.promise, tooLate.promise]);
    clearTimeout(timer);
    return outcome === "linked";
  }

  /** How a process ends. All who wait share one call to the shim; it outlives the connection, and, for the init, the shim. */
  wait(execId: string, signal?: CancelSignal): Promise<TaskExit> {
    let wait = this.#waits.get(execId);
    if (wait === undefined) {
      const answer = this.#wait(execId);
      wait = new SharedAnswer(answer);
      this.#waits.set(execId, wait);
      answer.catch(() => this.forgetProcess(execId));
    }
    return wait.get(signal);
  }

  /** How many callers wait for processes of it. */
  get waiting(): number {
    return [...this.#waits.values()].reduce((total, { callers }) => total + callers, 0);
  }

  /** All who delete it at the same time share what `work` gives. After a failure it can be tried again. */
  deleteOnce(work: () => Promise<DeleteResponse>): Promise<DeleteResponse> {
    this.#deletion ??= work().catch((error: unknown) => {
      this.#deletion = undefined;
      throw error;
    });
    return this.#deletion;
  }

  /** To be called when an exec is deleted: its id may be used again. */
  forgetProcess(execId: string): void {
    this.#waits.delete(execId);
  }

  async #wait(execId: string): Promise<TaskExit> {
    for (;;) {
      const link = this.#link;
      try {
        return await link.task.wait({ id: this.id, execId });
      } catch (error) {
        if (!link.isClosed) throw error;
        if (this.#link !== link) continue;
        const outcome = await this.#relinked.promise;
        if (outcome === "linked") continue;
        if (outcome !== "gone" && execId === "") return outcome;
        const what = execId === "" ? `task ${this.id}: it is gone` : `process ${execId}: its shim has gone`;
        throw new TtrpcError(Code.NOT_FOUND, `${what}: not found`, { cause: error });
      }
    }
  }

  /** What the control group has used; asked for once, as the task ends and before it is deleted. undefined if the shim cannot tell. */
  usage(): Promise<Usage | undefined> {
    this.#usage ??= this.#askUsage();
    return this.#usage;
  }

  #askUsage(): Promise<TaskUsage | undefined> {
    return this.currentUsage(STATS_TIMEOUT_MS);
  }

  /** undefined if the shim cannot tell, or not in time. */
  async currentUsage(timeoutMs: number): Promise<TaskUsage | undefined> {
    try {
      const { stats } = await this.shim.stats({ id: this.id }, { timeoutMs });
      return stats && readUsage(stats);
    } catch {
      return undefined;
    }
  }

  /** Goes on with a new connection to the same shim. */
  relink(link: ShimLink): void {
    this.#link = link;
    this.#relinked.resolve("linked");
    this.#relinked = new Deferred();
  }

  /** Resolves to how it ended, once its shim has died and has been cleaned up after; to "linked" if it was only the connection, and to "gone" if nobody minds it any more. */
  get recovered(): Promise<Outcome> {
    return this.#relinked.promise;
  }

  /** From here on the end of its connection is no death of its shim. */
  release(): void {
    this.#isClosed = true;
  }

  /** Lets go of the shim: the task is deleted, or its shim has died, or we end. Those who wait get `exit`, or else an error. */
  close(exit?: TaskExit): void {
    this.release();
    this.#closeLog();
    this.#link.close();
    this.#relinked.resolve(exit ?? "gone");
  }
}
