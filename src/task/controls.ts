// What a container is asked for while it runs: to be paused and resumed, written to a checkpoint, given other limits. Made by container.ts, called by service.ts.
import type { CheckpointOptions } from "../api/generated/runc_options.ts";
import { topics } from "../events/topics.ts";
import { errorText } from "../log/log.ts";
import type { Runc } from "../runc/runc.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { checkpointRun, runCriu } from "./checkpoint.ts";
import type { ShimContext } from "./context.ts";
import type { Exits } from "./exits.ts";
import { explain } from "./launch.ts";
import type { Process } from "./process.ts";
import type { Queue } from "./queue.ts";

/** What of a container its controls act on. */
export interface Controlled {
  readonly id: string;
  readonly bundle: string;
  readonly init: Process;
  readonly runc: Runc;
  readonly exits: Exits;
  /** What is done about a container is done one after another. */
  readonly queue: Queue;
  /** What is recorded of it has changed. */
  changed(): void;
}

/** The last checkpoint: one that ends the container is not written a second time. */
export interface CheckpointRecord {
  readonly path: string;
  readonly isDone: boolean;
}

export class Controls {
  readonly #context: ShimContext;
  readonly #container: Controlled;
  #lastCheckpoint: CheckpointRecord | undefined;

  /** `lastCheckpoint` is an earlier shim's. */
  constructor(context: ShimContext, container: Controlled, lastCheckpoint: CheckpointRecord | undefined) {
    this.#context = context;
    this.#container = container;
    this.#lastCheckpoint = lastCheckpoint;
  }

  get lastCheckpoint(): CheckpointRecord | undefined {
    return this.#lastCheckpoint;
  }

  pause(): Promise<void> {
    const { id, init, runc, exits, queue } = this.#container;
    return queue.run(async () => {
      init.request("pause");
      try {
        await explain("OCI runtime pause failed", runc.pause());
      } catch (error) {
        init.happened("pauseFailed");
        throw error;
      }
      init.happened("paused");
      this.#context.events.publish(topics.paused, { containerId: id });
      // It has ended meanwhile: nobody else will thaw it.
      if (init.state !== "paused") await exits.thaw();
    });
  }

  /** `again`: an earlier shim died over it, and may have come that far. */
  resume(again: boolean): Promise<void> {
    const { id, init, runc, queue } = this.#container;
    return queue.run(async () => {
      if (again && init.state === "running") return;
      init.request("resume");
      const isDone = again && (await runc.status()) === "running";
      if (!isDone) await explain("OCI runtime resume failed", runc.resume());
      init.happened("resumed");
      this.#context.events.publish(topics.resumed, { containerId: id });
    });
  }

  /** Writes the container's processes to the directory `path`. `again`: an earlier shim died over it. */
  checkpoint(path: string, options: CheckpointOptions, again: boolean): Promise<void> {
    const { id, bundle, init, runc, queue } = this.#container;
    return queue.run(async () => {
      if (again && (await this.#hasEnded()) && this.#endedContainer(path)) return;
      init.request("checkpoint");
      this.#noteCheckpoint(path, false);
      const run = checkpointRun(bundle, path, options);
      const command = (): Promise<void> => runc.checkpoint(run.flags);
      await explain("OCI runtime checkpoint failed", runCriu(this.#context.platform, bundle, run, command));
      this.#noteCheckpoint(path, true);
      // The event of it may have to wait for others, and who dies before it is sent must not leave it unknown.
      this.#context.records.flush();
      this.#context.events.publish(topics.checkpointed, { containerId: id, checkpoint: path });
    });
  }

  /** The runtime knows it before us where the keeper has not handed the exit on yet. */
  async #hasEnded(): Promise<boolean> {
    const { init, runc } = this.#container;
    return init.death !== undefined || !["running", "paused"].includes((await runc.status()) ?? "");
  }

  /** Whether it was the checkpoint that ended the container. Throws UNAVAILABLE if nobody knows whether it was done by then. */
  #endedContainer(path: string): boolean {
    const last = this.#lastCheckpoint;
    if (last?.path !== path) return false;
    if (last.isDone) return true;
    throw new TtrpcError(Code.UNAVAILABLE, "the shim was killed while the checkpoint was written");
  }

  #noteCheckpoint(path: string, isDone: boolean): void {
    this.#lastCheckpoint = { path, isDone };
    this.#container.changed();
  }

  /** Applies limits; `resources` is the JSON of an OCI LinuxResources. */
  update(resources: string): Promise<void> {
    const { init, runc, queue } = this.#container;
    return queue.run(async () => {
      init.request("update");
      try {
        JSON.parse(resources);
      } catch (error) {
        throw new TtrpcError(Code.INVALID_ARGUMENT, `resources: ${errorText(error)}`);
      }
      await runc.update(resources);
    });
  }

  /** The runtime was killed by a shim's death while it paused: how far it has come, it knows. */
  finishPause(): Promise<void> {
    const { id, init, runc, queue } = this.#container;
    return queue.run(async () => {
      const isPaused = (await runc.status()) === "paused";
      init.happened(isPaused ? "paused" : "pauseFailed");
      if (isPaused) this.#context.events.publish(topics.paused, { containerId: id });
    });
  }
}
