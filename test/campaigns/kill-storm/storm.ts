// What all lives of a storm share: the daemon, which comes back whenever it has died, its client, and who was hit by what.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { DaemonClient } from "../../../src/cli/containers/daemon-client.ts";
import { callCode } from "../../../src/cli/text/problem.ts";
import { Code } from "../../../src/ttrpc/status.ts";
import { Daemon } from "../../harness/daemon.ts";
import { isGoShim, shimBinary } from "../../harness/runtime.ts";
import type { CampaignRun } from "../campaign.ts";

/** No step of a life takes longer, however often the daemon dies meanwhile, in ms. */
const STEP_TIMEOUT = 90_000;
/** A call that is answered by nobody for so long is a hang, in ms. */
const CALL_TIMEOUT = 60_000;

/** Places where holdfastd can be told to die (src/manager/failpoint.ts). */
export const FAILPOINTS: readonly string[] = [
  ...["create:bundle", "create:started", "create:connected", "create:created"],
  ...["delete:asked", "delete:answered", "delete:shutdown", "reattach:asked"],
  ...["Forward/tasks/exit:request", "Forward/tasks/exit:response"],
  ...[
    "containerd.services.tasks.v1.Tasks/Start:request",
    "containerd.services.tasks.v1.Tasks/Start:response",
  ],
];

/** How much of what dead daemons have said is kept. */
const LOG_LENGTH = 4 << 20;

/** At which death within a minute a keeper starts its shim no more. */
const GIVES_UP_AT = 3;

/** What somebody was hit with: by SIGKILL, the ones that change what may be expected. */
export type Hit = "shim" | "keeper" | "runc" | "logger";

export class Storm {
  readonly run: CampaignRun;
  readonly daemon: Daemon;
  readonly logger: string;
  readonly #hits = new Map<string, Set<Hit>>();
  /** A file for each container whose shim is to die in its own code: where. */
  readonly #places: string;
  readonly #shimDeaths = new Map<string, number>();
  /** Whether shims have keepers, as far as was seen. */
  hasKeepers = false;
  #client: DaemonClient | undefined;
  /** Counts the daemon's deaths: what was under way then may have been cut in two. */
  #deaths = 0;
  #earlierLogs = "";
  #isOver = false;
  /** What waits for steps of the lives, and how many it waits for. */
  #waiting: { left: number; readonly done: () => void } | undefined;

  private constructor(run: CampaignRun, daemon: Daemon, places: string) {
    this.#places = places;
    this.run = run;
    this.daemon = daemon;
    const directory = join(daemon.directory, "logs");
    mkdirSync(directory);
    this.logger = join(daemon.directory, "logger");
    writeFileSync(this.logger, `#!/bin/sh\nexec 5>&-\nexec cat <&3 >>${directory}/$CONTAINER_ID\n`, {
      mode: 0o755,
    });
  }

  static async begin(run: CampaignRun): Promise<Storm> {
    const places = mkdtempSync(join(tmpdir(), "holdfast-failpoints-"));
    const shim = join(places, "shim");
    writeFileSync(shim, shimWithFailpoints(places), { mode: 0o755 });
    const storm = new Storm(
      run,
      await Daemon.start({ logLevel: "info", ...(isGoShim ? {} : { shim }) }),
      places,
    );
    storm.#client = await DaemonClient.connect(storm.daemon.address, storm.daemon.namespace, CALL_TIMEOUT);
    void storm.#revive();
    return storm;
  }

  get client(): DaemonClient {
    if (this.#client === undefined) throw new Error("not connected");
    return this.#client;
  }

  get deaths(): number {
    return this.#deaths;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** What all daemons have said. */
  get log(): string {
    return this.#earlierLogs + this.daemon.log;
  }

  logOf(id: string): string {
    return join(this.daemon.directory, "logs", id);
  }

  hit(id: string, by: Hit): void {
    const hits = this.#hits.get(id) ?? new Set();
    hits.add(by);
    if (by === "shim") this.#shimDeaths.set(id, (this.#shimDeaths.get(id) ?? 0) + 1);
    this.#hits.set(id, hits);
  }

  /** By what a container's processes were hit, and the last that its daemon has said of it. */
  storyOf(id: string): string {
    const hits = [...(this.#hits.get(id) ?? [])].join(", ");
    const lines = this.log.split("\n").filter((line) => line.includes(id));
    return [`${id}: hit were ${hits || "none"}`, ...lines.slice(-10)].join("\n");
  }

  /** Has the container's first shim die at these places of its code, as it comes to them. */
  plant(id: string, failpoint: string): void {
    if (failpoint === "" || isGoShim) return;
    this.run.did("shims with a failpoint");
    writeFileSync(join(this.#places, id), `${failpoint}\n`);
    for (const _ of failpoint.split(",")) this.hit(id, "shim");
  }

  wasHit(id: string, by: Hit): boolean {
    return this.#hits.get(id)?.has(by) === true;
  }

  /** Whether a keeper had to bring its shim back: there are keepers, its own lived, and the shim did not die so often that it gave up. */
  isKept(id: string): boolean {
    return this.hasKeepers && !this.wasHit(id, "keeper") && (this.#shimDeaths.get(id) ?? 0) < GIVES_UP_AT;
  }

  /** Calls until somebody answers, whatever becomes of the daemon. Rejects with the first other error. */
  async steadily<T>(what: string, call: (client: DaemonClient) => Promise<T>): Promise<T> {
    const deadline = performance.now() + STEP_TIMEOUT;
    this.#stepped();
    for (;;) {
      try {
        return await call(this.client);
      } catch (error) {
        if (callCode(error) === undefined) throw error;
        if (callCode(error) !== Code.UNAVAILABLE || performance.now() > deadline) {
          throw new Error(`${what}: ${error instanceof Error ? error.message : String(error)}`, {
            cause: error,
          });
        }
        await sleep(20);
      }
    }
  }

  /** Resolves when the lives have done so many steps more, or are over. */
  steps(count: number): Promise<void> {
    if (count === 0 || this.#isOver) return Promise.resolve();
    return new Promise((done) => {
      this.#waiting = { left: count, done };
    });
  }

  /** To be called when all lives are over: nobody waits for further steps. */
  calm(): void {
    this.#waiting?.done();
  }

  #stepped(): void {
    if (this.#waiting !== undefined && --this.#waiting.left === 0) this.#waiting.done();
  }

  /** Ends the storm and tells what is left of it. */
  async end(): Promise<string> {
    this.#isOver = true;
    this.#client?.close();
    rmSync(this.#places, { recursive: true });
    return this.daemon.isRunning ? this.daemon.leftovers() : "the daemon does not run";
  }

  async #revive(): Promise<void> {
    const random = this.run.random.branch();
    while (!this.#isOver) {
      await this.daemon.exited;
      if (this.#isOver) return;
      this.#deaths++;
      this.#earlierLogs = (this.#earlierLogs + this.daemon.log).slice(-LOG_LENGTH);
      this.run.did(`deaths of ${this.daemon.kind}`);
      const place = this.daemon.kind === "holdfastd" && random.chance(0.5) ? random.pick(FAILPOINTS) : "";
      try {
        await this.daemon.launch(place === "" ? {} : { HOLDFAST_FAILPOINT: place });
      } catch {
        // It died on the way, at such a place: the next one has none.
      }
    }
  }
}

/** A program that starts the shim with the failpoint that is planted for its container, once. */
function shimWithFailpoints(places: string): string {
  return `#!/bin/sh
for word; do
  [ "$last" = -id ] && id=$word
  last=$word
done
if [ "$last" = start ] && [ -e ${places}/$id ]; then
  read -r HOLDFAST_FAILPOINT <${places}/$id
  rm ${places}/$id
  export HOLDFAST_FAILPOINT
fi
exec ${shimBinary()} "$@"
`;
}

/** The code of a failed call, or of what steadily() rejected with. */
export function codeOf(error: unknown): number | undefined {
  return callCode(error) ?? (error instanceof Error ? callCode(error.cause) : undefined);
}
