// Finding the tasks of an earlier daemon again: every bundle at once, none waits for another. Called by daemon.ts at start.
import type { Container } from "../../api/generated/containers.ts";
import { Status } from "../../api/generated/process.ts";
import { topics } from "../../events/topics.ts";
import { failpoint } from "../../platform/failpoint.ts";
import { isSystemError } from "../../platform/platform.ts";
import type { ShimAddress } from "../../shims/address.ts";
import { saysDead } from "../../shims/connect.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { errorText, pause } from "../deferred.ts";
import { type Bundle, findBundles, removeRemains } from "./bundle.ts";
import type { ShimBinary } from "./shim-binary.ts";
import { ShimLink } from "./shim-link.ts";
import { Task, type TaskPhase } from "./task.ts";
import type { Tasks } from "./tasks.ts";

const RETRY_MS = 500;
/** How long a shim that lives may take to publish an exit that happened while no daemon ran, before we do, in ms. */
const PUBLISHING_MS = 5000;

type FindContainer = (namespace: string, id: string) => Container | undefined;

/** A bundle, and what its files say. */
interface Found {
  readonly bundle: Bundle;
  readonly binary: ShimBinary | undefined;
  readonly address: ShimAddress;
}

export class Reattachment {
  readonly #tasks: Tasks;
  readonly #findContainer: FindContainer;

  constructor(tasks: Tasks, findContainer: FindContainer) {
    this.#tasks = tasks;
    this.#findContainer = findContainer;
  }

  /**
   * Resolves when every living shim's task is listed: connecting does not wait for a shim to answer. What takes longer goes on
   * behind it: asking them how they are, and cleaning up after the dead; `settled` resolves when that is done, but for shims that hang.
   */
  async run(): Promise<{ readonly settled: Promise<void> }> {
    const { place, log } = this.#tasks.context;
    const bundles = findBundles(place);
    this.#publishLateEnds(bundles);
    const later = (await Promise.all(bundles.map((bundle) => this.#find(bundle)))).map((rest) => rest());
    const settled = Promise.all(later).then(async () => {
      await removeRemains(place);
    });
    settled.catch((error) => log.error({ error: errorText(error) }, "cannot clean up"));
    return { settled };
  }

  /** Ends of tasks whose bundles have gone already. */
  #publishLateEnds(bundles: readonly Bundle[]): void {
    const present = new Set(bundles.map(({ namespace, id }) => `${namespace}/${id}`));
    for (const { namespace, id, end } of this.#tasks.context.histories.unpublished()) {
      if (!present.has(`${namespace}/${id}`)) this.#tasks.dead.publishEnd(namespace, id, end);
    }
  }

  /** Returns what is left to do for a bundle; that never rejects. */
  async #find(bundle: Bundle): Promise<() => Promise<void>> {
    const { namespace, id, path } = bundle;
    const log = this.#tasks.context.log.child({ namespace, id });
    const release = this.#tasks.reserve(namespace, id, "it is being looked for, after a restart");
    try {
      const binary = await this.#binaryOf(bundle);
      const address = await bundle.readShim();
      if (address === undefined) {
        log.info("removing a bundle that was half made");
        return async () => {
          const outcome = await this.#tasks.dead.discard(bundle, binary, undefined);
          release();
          this.#tasks.keepReserved(bundle, outcome);
        };
      }
      const found = { bundle, binary, address };
      const link = await connectOnce(address);
      if (link !== "busy") return this.#take(found, link, release);
      log.warn("shim's queue is full; asking again until it answers");
      return async () => {
        const later = await this.#connect(address);
        await this.#take(found, later, release)();
      };
    } catch (error) {
      // Its id stays taken: a new task must not be made over a container that may be running.
      log.error({ error: errorText(error), bundle: path }, "cannot read a bundle; it is set aside as it is");
      release();
      this.#tasks.reserve(namespace, id, `its bundle ${path} cannot be read (${errorText(error)})`);
      return () => Promise.resolve();
    }
  }

  async #binaryOf(bundle: Bundle): Promise<ShimBinary | undefined> {
    const { runtimes, log } = this.#tasks.context;
    const { namespace, id } = bundle;
    const runtime = (await bundle.readShimPath()) ?? this.#findContainer(namespace, id)?.runtime?.name;
    try {
      return runtime === undefined ? undefined : this.#tasks.binaryOf(runtimes.resolve(runtime), bundle);
    } catch (error) {
      log.error({ namespace, id, error: errorText(error) }, "no shim binary to clean up with");
      return undefined;
    }
  }

  /** "dead" if nobody serves there. For as long as the kernel's queue of a stuck shim is full. */
  async #connect(address: ShimAddress): Promise<ShimLink | "dead"> {
    for (;;) {
      const link = await connectOnce(address);
      if (link !== "busy") return link;
      await pause(RETRY_MS);
    }
  }

  /** Lists a living shim's task, at once; returns what is left to do, as #find. */
  #take(
    { bundle, binary, address }: Found,
    link: ShimLink | "dead",
    release: () => void,
  ): () => Promise<void> {
    const { namespace, id } = bundle;
    if (link === "dead" && this.#tasks.adoption.mayAdopt(bundle, binary)) {
      release();
      const ended = ShimLink.ended(address);
      const task = new Task({ bundle, binary, address, link: ended, closeLog: this.#tasks.readLog(bundle) });
      this.#tasks.add(task);
      return () => this.#ask(task);
    }
    if (link === "dead") {
      this.#tasks.context.log.warn(
        { namespace, id },
        "shim has died while no daemon ran; cleaning up after it",
      );
      return () => this.#recover(bundle, binary, release);
    }
    release();
    const task = new Task({ bundle, binary, address, link, closeLog: this.#tasks.readLog(bundle) });
    this.#tasks.add(task);
    return () => this.#ask(task);
  }

  async #recover(bundle: Bundle, binary: ShimBinary | undefined, release: () => void): Promise<void> {
    const { namespace, id } = bundle;
    const { end, outcome } = await this.#tasks.dead.recover(bundle, binary);
    release();
    this.#tasks.keepReserved(bundle, outcome);
    // Nobody has heard of a container that was never created.
    if (this.#tasks.context.histories.wasCreated(namespace, id))
      this.#tasks.dead.publishEnd(namespace, id, end);
  }

  /** Asks until there is an answer, or the shim dies. */
  async #ask(task: Task): Promise<void> {
    const { timeouts, log } = this.#tasks.context;
    const { namespace, id } = task;
    while (!task.isClosed) {
      try {
        await this.#settle(task);
        return;
      } catch (error) {
        const { code, rawMessage } = TtrpcError.from(error);
        if (code === Code.NOT_FOUND) {
          log.info({ namespace, id }, "removing a task that was half made");
          await this.#tasks.drop(task);
          return;
        }
        if (code !== Code.UNAVAILABLE) {
          log.warn(
            { namespace, id, error: rawMessage, timeoutMs: timeouts.shimLoad },
            "shim does not answer",
          );
        }
        await pause(RETRY_MS);
      }
    }
  }

  /** Publishes an exit that was not: the shim may have given up. */
  async #settle(task: Task): Promise<void> {
    const { exchange, histories, timeouts } = this.#tasks.context;
    const { namespace, id } = task;
    const { pid, status, exitStatus, exitedAt } = await task.state("", timeouts.shimLoad);
    task.pid = pid;
    task.phase = phaseOf(status);
    failpoint("reattach:asked");
    if (status !== Status.STOPPED) return;
    // Its shim publishes it, after what comes before it, as long as it tries.
    const deadline = performance.now() + PUBLISHING_MS;
    while (!histories.isEndPublished(namespace, id) && performance.now() < deadline && !task.isClosed)
      await pause(RETRY_MS / 10);
    if (task.isClosed) return;
    if (!histories.isEndPublished(namespace, id))
      exchange.publish(namespace, topics.exit, { containerId: id, id, pid, exitStatus, exitedAt });
    // Its shim may have published it before we knew the task.
    await this.#tasks.noteUsage(task);
  }
}

function phaseOf(status: Status): TaskPhase {
  if (status === Status.CREATED) return "created";
  if (status === Status.STOPPED) return "stopped";
  return status === Status.PAUSED || status === Status.PAUSING ? "paused" : "running";
}

/** EAGAIN says that the shim's queue is full: it lives. Rejects with what else went wrong. */
async function connectOnce(address: ShimAddress): Promise<ShimLink | "dead" | "busy"> {
  try {
    return await ShimLink.connect(address);
  } catch (error) {
    if (saysDead(error)) return "dead";
    if (isSystemError(error, "EAGAIN")) return "busy";
    throw error;
  }
}
