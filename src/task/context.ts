// What all containers of a shim share. Made once, by src/shim/serve.ts.
import type { OomWatch } from "../cgroup/oom.ts";
import type { EventSink } from "../events/topics.ts";
import type { Log } from "../log/log.ts";
import type { Platform } from "../platform/platform.ts";
import type { Records } from "../platform/state-log.ts";
import type { Reaper } from "../reaper/reaper.ts";

export interface ShimContext {
  readonly platform: Platform;
  readonly reaper: Reaper;
  readonly events: EventSink;
  readonly log: Log;
  /** What outlives this process. */
  readonly records: Records;
  /** The keeper's pid; 0 without one. */
  readonly keeper: number;
  /** Whether somebody takes the containers over if shim and keeper are both killed: what names their processes and pipes is recorded for that. */
  readonly isAdoptable: boolean;
  /** Whether this shim has taken its containers over so: their processes are nobody's children here. */
  readonly hasAdopted: boolean;
  /** The bundle in which the shim's own records are. */
  readonly home: string;
  /** Whether a daemon takes this shim's events: false only where there is nobody at its address. */
  readonly daemonAnswers: () => boolean;
  readonly namespace: string;
  /** Bytes of execs that nobody has started yet, of all containers (execs.ts). */
  readonly unstarted: { bytes: number };
  /** The containers' watches for OOM kills: what one of them tells of is no other's. */
  readonly oomWatches: Set<OomWatch>;
  /** The OOM score of the loggers that the shim starts: its daemon's, not its own (containerd issue 3380). */
  readonly oomScoreAdj: number;
}
