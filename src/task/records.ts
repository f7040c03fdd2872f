// What a successor of the shim needs to know of a container and its execs, and under which keys it stands (docs/state.md).
import type { CgroupRecord } from "../cgroup/cgroup.ts";
import type { Ids, Spec } from "../runc/bundle.ts";
import type { RuntimeOptions } from "../runc/options.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import type { CriuRun } from "./checkpoint.ts";
import type { CheckpointRecord } from "./controls.ts";
import type { ProcessRecord } from "./process.ts";

/** Of a container, its execs aside. */
export interface ContainerRecord {
  readonly bundle: string;
  readonly options: RuntimeOptions;
  readonly spec: Spec;
  readonly restoring?: CriuRun | undefined;
  /** Whether its create is over. One that was not is undone. */
  readonly isMade: boolean;
  readonly init: ProcessRecord;
  readonly startIsDue: boolean;
  /** The name of the init's process before it is the program. */
  readonly waitsAs?: string | undefined;
  readonly execCount: number;
  readonly lastCheckpoint?: CheckpointRecord | undefined;
  readonly cgroup?: CgroupRecord | undefined;
}

/** What of that never changes, and is made text once: there is a new record at every step of a container's life. */
export type FixedContainerRecord = Pick<ContainerRecord, "bundle" | "options" | "spec" | "restoring">;

/** What is neither fixed nor a part's own. */
export type ChangingContainerRecord = Omit<ContainerRecord, keyof FixedContainerRecord | "init" | "cgroup">;

/** What an exec is to run: the runtime's JSON, and whom as. */
export interface ExecSpec {
  readonly process: string;
  readonly user: Ids;
}

/** Of an exec; how it begins, while it is being started. */
export interface ExecRecord extends Partial<ExecBeginning> {
  readonly container: string;
  readonly process: ProcessRecord;
  /** Until it was started. */
  readonly spec?: ExecSpec | undefined;
}

/** By what the process of an exec is found whose start nobody has ended. */
export interface ExecBeginning {
  /** Where the runtime writes its pid. */
  readonly pidFile: string | undefined;
  /** Before the runtime was called, in clock ticks since the boot. */
  readonly since: number | undefined;
}

/** What was being made when its shim died: it is made again, with descriptors of its own. */
export function isUndone(record: MaybeMade): boolean {
  return record.isMade === false || (record.container !== undefined && record.process?.state === "starting");
}

/** What tells it, of a container's record or an exec's. */
type MaybeMade = Partial<Pick<ContainerRecord, "isMade"> & Pick<ExecRecord, "container" | "process">>;

/** Most characters of a container's id: it is in a record's key, for whose bytes docs/state.md has a limit. */
const MAX_ID = 4096;

/** Throws INVALID_ARGUMENT for an id that no record could be named by. */
export function checkId(id: string): void {
  if (id.length > MAX_ID) {
    throw new TtrpcError(Code.INVALID_ARGUMENT, `an id of ${id.length} characters, more than ${MAX_ID}`);
  }
}

export function containerKey(id: string): string {
  return `container ${id}`;
}

export function execKey(container: string, id: string): string {
  return `exec ${JSON.stringify([container, id])}`;
}

/** The spec as it is recorded. Pods have many annotations, and long ones, that are none of the shim's business. */
export function recordedSpec(spec: Spec): Spec {
  const own = Object.entries(spec.annotations).filter(([name]) => name.startsWith("io.holdfast."));
  return { ...spec, annotations: Object.fromEntries(own) };
}
