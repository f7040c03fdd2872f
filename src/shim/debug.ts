// What the shim is doing, for `holdfast shim … dump` (holdfast.shim.v1.Debug). It costs a ring of the last calls; all else is looked up when
// asked for. What /proc can tell (children, memory, whose descriptors) is left to the one who asks. Registered by serve.ts.
import type { ContainerDump, ShimDump } from "../api/dump.ts";
import type { DumpResponse, UpgradeRequest, UpgradeResponse } from "../api/generated/debug.ts";
import type { Empty } from "../api/generated/google/protobuf/empty.ts";
import { VERSION } from "../api/version.ts";
import { errorText } from "../log/log.ts";
import { isSystemError, type Platform } from "../platform/platform.ts";
import type { CallContext, CallInfo } from "../ttrpc/definition.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";

/** How many finished calls are remembered. */
const REMEMBERED_CALLS = 32;

/** Where the figures come from. */
export interface DebugSources {
  runningCalls(): readonly CallInfo[];
  containers(): readonly ContainerDump[];
  waitingEvents(): readonly string[];
  /** Has another program take this one's place; does not return when it succeeds. */
  upgrade(path: string): Promise<never>;
}

export class Debug {
  readonly #platform: Platform;
  readonly #sources: DebugSources;
  readonly #calls: { method: string; ms: number; at: number; error: string }[] = [];

  constructor(platform: Platform, sources: DebugSources) {
    this.#platform = platform;
    this.#sources = sources;
  }

  /** To be called for every call that ends. */
  finished(call: CallInfo, ms: number, error: TtrpcError | undefined): void {
    this.#calls.push({ method: call.method, ms, at: call.startedMs + ms, error: error?.message ?? "" });
    if (this.#calls.length > REMEMBERED_CALLS) this.#calls.shift();
  }

  /** Answered by whoever serves afterwards. */
  async upgrade({ program }: UpgradeRequest, call: CallContext): Promise<UpgradeResponse> {
    const { keeping, self } = this.#platform;
    if (call.isResumed) {
      const keeper = keeping.keeper();
      if ((keeper?.failedExecutions ?? 0) > 0) {
        throw new TtrpcError(
          Code.ABORTED,
          "the program could not go on: the one that was there before serves",
        );
      }
      // Else the shim was killed before it came to it.
      if (keeper?.isExecuted) return { version: VERSION, pid: self.pid() };
    }
    try {
      return await this.#sources.upgrade(program || (self.argv[0] ?? ""));
    } catch (error) {
      throw new TtrpcError(Code.FAILED_PRECONDITION, errorText(error));
    }
  }

  dump(_?: Empty): DumpResponse {
    const now = this.#platform.clock.monotonicMs();
    const dump: ShimDump = {
      pid: this.#platform.self.pid(),
      deaths: this.#platform.keeping.keeper()?.deaths ?? 0,
      calls: this.#calls.map(({ method, ms, at, error }) => ({ method, ms, ago: now - at, error })),
      running: this.#sources.runningCalls().map(({ method, startedMs }) => ({ method, ms: now - startedMs })),
      containers: this.#sources.containers(),
      events: this.#sources.waitingEvents(),
      fill: this.#fill(),
      memory: this.#platform.self.memoryUsage(),
    };
    return { json: JSON.stringify(dump) };
  }

  #fill(): Record<string, number> {
    const { files, fds } = this.#platform;
    const fill: Record<string, number> = {};
    for (const fd of files.list("/proc/self/fd")) {
      try {
        const bytes = fds.readable(Number(fd));
        if (bytes > 0) fill[fd] = bytes;
      } catch (error) {
        // Not of the kind that is read from.
        if (!isSystemError(error)) throw error;
      }
    }
    return fill;
  }
}
