// What a shim tells of itself for `holdfast shim … dump`: the JSON of a DumpResponse. Made by src/shim/debug.ts and src/task, read by src/cli.

/** All durations are in ms. */
export interface ShimDump {
  readonly pid: number;
  /** How many shims have died before this one, and been started again. Older shims do not tell. */
  readonly deaths?: number;
  /** The last calls that have ended, the oldest first. `error` is empty for a call that was answered. */
  readonly calls: readonly { method: string; ms: number; ago: number; error: string }[];
  readonly running: readonly { method: string; ms: number }[];
  readonly containers: readonly ContainerDump[];
  /** Topics of the events that the daemon has not acknowledged, in order. */
  readonly events: readonly string[];
  /** Unread bytes by descriptor, of pipes, fifos and terminals that hold any. */
  readonly fill: Readonly<Record<string, number>>;
  /** What the engine holds. Older shims do not tell. */
  readonly memory?: { readonly allocated: number; readonly objects: number };
}

export interface ProcessDump {
  readonly id: string;
  readonly state: string;
  /** 0 before there is one. */
  readonly pid: number;
  readonly status?: number | undefined;
  /** Of its output, in bytes, where its policy is not to wait: lost, and kept on the disk for a reader that comes back. */
  readonly output?: { readonly dropped: number; readonly waiting: number } | undefined;
}

export interface ContainerDump extends ProcessDump {
  readonly execs: readonly ProcessDump[];
}
