// What is done first when a shim has died whose container may live on: another shim is started that takes it over (docs/state.md). Where that cannot be, or is
// not wanted, dead-shims.ts cleans up.
import type { Logger } from "pino";
import { timestampFromNs } from "../../api/timestamp.ts";
import { failpoint } from "../../platform/failpoint.ts";
import { nodeClock } from "../../platform/node.ts";
import { errorText, pause } from "../deferred.ts";
import type { Histories } from "../records/history.ts";
import type { Bundle } from "./bundle.ts";
import type { ShimBinary } from "./shim-binary.ts";

/** So many times within so long, in ms, a container is adopted at once; after that with pauses: a shim that dies again and again must not take the host. */
const WINDOW_MS = 60_000;
const AT_ONCE = 4;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15_000;

export interface AdoptionContext {
  readonly isWanted: boolean;
  readonly timeoutMs: number;
  readonly histories: Histories;
  readonly log: Logger;
}

export class Adoption {
  readonly #context: AdoptionContext;
  /** When, in ms of the monotonic clock, by the bundle's path. */
  readonly #latest = new Map<string, number[]>();

  constructor(context: AdoptionContext) {
    this.#context = context;
  }

  /** Whether there is anything by which it could be. */
  mayAdopt(bundle: Bundle, binary: ShimBinary | undefined): boolean {
    return this.#context.isWanted && binary !== undefined && bundle.hasJournal();
  }

  /** Resolves to whether somebody serves the container now: where its shim served. If not, to why. Never rejects. */
  async adopt(bundle: Bundle, binary: ShimBinary | undefined): Promise<true | string> {
    if (binary === undefined || !this.mayAdopt(bundle, binary)) return "";
    const { namespace, id } = bundle;
    const log = this.#context.log.child({ namespace, id });
    const began = nodeClock.realtimeNs();
    await pause(this.#pauseFor(bundle.path));
    failpoint("adopt:began");
    try {
      const warning = await binary.adopt(this.#context.timeoutMs);
      failpoint("adopt:served");
      log.warn(warning === "" ? {} : { warning }, "shim has died; another one has taken its container over");
      this.#note(bundle, began, ["adopted by another shim", warning].filter(Boolean).join(": "));
      return true;
    } catch (error) {
      const reason = errorText(error);
      log.error({ error: reason }, "shim has died, and its container cannot be taken over");
      return reason;
    }
  }

  /** To be called when the bundle is gone. */
  forget({ path }: Bundle): void {
    this.#latest.delete(path);
  }

  #note({ namespace, id }: Bundle, began: bigint, detail: string): void {
    this.#context.histories.noteStep(namespace, id, {
      at: timestampFromNs(began),
      what: "shim died",
      execId: "",
      tookNs: nodeClock.realtimeNs() - began,
      detail,
    });
  }

  #pauseFor(path: string): number {
    const now = performance.now();
    const latest = (this.#latest.get(path) ?? []).filter((at) => now - at < WINDOW_MS);
    this.#latest.set(path, [...latest, now]);
    const excess = latest.length - AT_ONCE;
    return excess < 0 ? 0 : Math.min(FIRST_PAUSE_MS * 2 ** excess, LONGEST_PAUSE_MS);
  }
}
