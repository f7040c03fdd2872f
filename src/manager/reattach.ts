// Finding the tasks of an earlier daemon again: every bundle at once, none waits for another. Called by daemon.ts at start.
import type { Container } from "../api/generated/containers.ts";
import { Status } from "../api/generated/process.ts";
import { topics } from "../events/topics.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { type Bundle, findBundles, removeRemains, type ShimAddress } from "./bundle.ts";
import { failpoint } from "./failpoint.ts";
import type { ShimBinary } from "./shim-binary.ts";
import { ShimLink, saysDead } from "./shim-link.ts";
import { Task } from "./task.ts";
import { errorText, pause, type Tasks } from "./tasks.ts";

const RETRY_MS = 500;
/** How long a shim that lives may take to tell of an exit that happened while no daemon ran, before we do, in ms. */
const TELLING_MS = 5000;

type FindContainer = (namespace: string, id: string) => Container | undefined;

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
    this.#tellUntold(bundles);
    const later = (await Promise.all(bundles.map((bundle) => this.#find(bundle)))).map((rest) => rest());
    const settled = Promise.all(later).then(async () => {
      await removeRemains(place);
    });
    settled.catch((error) => log.error({ error: errorText(error) }, "cannot clean up"));
    return { settled };
  }

  /** Ends of tasks whose bundles have gone already. */
  #tellUntold(bundles: readonly Bundle[]): void {
    const present = new Set(bundles.map(({ namespace, id }) => `${namespace}/${id}`));
    for (const { namespace, id, end } of this.#tasks.context.histories.untold()) {
      if (!present.has(`${namespace}/${id}`)) this.#tasks.publishEnd(namespace, id, end);
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
        return () => this.#tasks.discard(bundle, binary, undefined).finally(release);
      }
      const link = await this.#connect(address);
      if (link === undefined) {
        log.warn("shim has died while no daemon ran; cleaning up after it");
        return () => this.#bury(bundle, binary).finally(release);
      }
      release();
      const task = new Task({ bundle, binary, address, link, closeLog: this.#tasks.readLog(bundle) });
      this.#tasks.add(task);
      return () => this.#ask(task);
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

  /** undefined if the shim is dead. Waits only while the kernel's queue of a stuck shim is full. */
  async #connect(address: ShimAddress): Promise<ShimLink | undefined> {
    const deadline = performance.now() + this.#tasks.context.timeouts.shimLoad;
    for (;;) {
      try {
        return await ShimLink.connect(address);
      } catch (error) {
        if (saysDead(error)) return undefined;
        if (performance.now() > deadline) throw error;
        await pause(RETRY_MS);
      }
    }
  }

  async #bury(bundle: Bundle, binary: ShimBinary | undefined): Promise<void> {
    const { namespace, id } = bundle;
    const history = this.#tasks.context.histories.find(namespace, id);
    const end = await this.#tasks.bury(bundle, binary);
    // Nobody was told of a container that was never created.
    const wasCreated = history?.steps.some(({ what }) => what === "/tasks/create") === true;
    if (wasCreated) this.#tasks.publishEnd(namespace, id, end);
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

  /** Tells an exit that nobody has been told of: the shim may have given up telling it. */
  async #settle(task: Task): Promise<void> {
    const { exchange, histories, timeouts } = this.#tasks.context;
    const { namespace, id } = task;
    const { pid, status, exitStatus, exitedAt } = await task.state("", timeouts.shimLoad);
    task.pid = pid;
    failpoint("reattach:asked");
    if (status !== Status.STOPPED) return;
    // Its shim tells it, after what comes before it, as long as it tries.
    const deadline = performance.now() + TELLING_MS;
    while (!histories.isEndTold(namespace, id) && performance.now() < deadline && !task.isClosed)
      await pause(RETRY_MS / 10);
    if (histories.isEndTold(namespace, id) || task.isClosed) return;
    exchange.publish(namespace, topics.exit, { containerId: id, id, pid, exitStatus, exitedAt });
    await this.#tasks.noteUsage(task);
  }
}
